// Two processes that know each other before their applications are ready: the early link, its outcomes, hung and dead.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import http from 'node:http'
import net from 'node:net'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterEach, describe, expect, test } from 'vitest'
import { earlyPeer, Peer, type PeerEvent } from '../../src/index.js'
import { readSettings } from '../../src/peer/early-link.js'
import { rounds } from '../fault/support/long.js'
import { Random, testSeed } from '../unit/random.js'
import { withFolder } from './client-support.js'
import {
  deviceOptions,
  EarlyProcess,
  endProcesses,
  freeAddress,
  onDevice,
  pairSettings,
  type Settings,
  sleep,
} from './early-support.js'

afterEach(endProcesses)

/** For what comes by itself, on a machine that is short of time. */
const patience = { timeout: 20_000 }

interface Status {
  state: string
  version: number
  epoch: string
  bootId: string
  progress: string
  loopAgeMs: number
  uptimeMs: number
}
interface Report {
  linked: boolean
  links: number
  linkedAt: number
  startedAt: number
  connected: boolean
  stepMs: number[]
  bootId: string
  partner: string
  problem?: { code: string }
}

async function linkedPair(settings?: [Settings, Settings]): Promise<[EarlyProcess, EarlyProcess]> {
  const [a, b] = settings ?? (await pairSettings())
  const pair: [EarlyProcess, EarlyProcess] = [new EarlyProcess(a), new EarlyProcess(b)]
  for (const process of pair) {
    await process.ready()
    await process.ask('whenLinked')
  }
  return pair
}

describe('with both event loops blocked for 5 s from the first line of the application', () => {
  test('the four-step handshake completes while both are blocked', async () => {
    const [a, b] = await pairSettings()
    const first = new EarlyProcess(a, 'blocked.cjs')
    await sleep(300)
    const second = new EarlyProcess(b, 'blocked.cjs')
    const reports = (await Promise.all(
      [first, second].map((process) => process.wait(({ linkedAt }) => linkedAt !== undefined)),
    )) as unknown as (Report & { begun: number; processStartedAt: number })[]
    const laterStart = Math.max(...reports.map(({ processStartedAt }) => processStartedAt))
    for (const report of reports) {
      expect(report).toMatchObject({ linked: true, links: 1 })
      console.log(
        `linked ${(report.linkedAt - laterStart).toFixed(0)} ms after the later process's start, ` +
          `${(report.linkedAt - report.startedAt).toFixed(1)} ms after this link's`,
      )
      // It came about while both loops were blocked, and without a turn of either.
      expect(report.linkedAt).toBeLessThan(Math.min(...reports.map(({ begun }) => begun)) + 5000)
    }
    const [connecting, ...others] = reports.filter(({ connected }) => connected)
    expect(others).toEqual([])
    expect(connecting?.stepMs).toHaveLength(4)
    expect(connecting?.stepMs).toEqual(connecting?.stepMs.toSorted((x, y) => x - y))
    console.log(`steps, in ms from the connect: ${connecting?.stepMs.map((ms) => ms.toFixed(2)).join(', ')}`)
    expect(reports[0]?.partner).toBe(reports[1]?.bootId)
    expect(reports[1]?.partner).toBe(reports[0]?.bootId)
  })
})

describe('the status of the partner', () => {
  test('is what it published, read by RDMA', async () => {
    const [first, second] = await linkedPair()
    expect(await first.ask<Status>('status')).toMatchObject({ state: 'loading', version: 1, epoch: '0', progress: '0' })
    const epoch = String(2n ** 64n - 1n)
    await second.ask('publish', { update: { state: 'primary', epoch, progress: '7' } })
    await second.ask('publish', { update: { progress: '8' } })
    await expect
      .poll(() => first.ask<Status>('status'), patience)
      .toMatchObject({ state: 'primary', epoch, progress: '8' })
    const { bootId } = await second.ask<Report>('report')
    expect((await first.ask<Status>('status')).bootId).toBe(bootId)
  })

  test('tells hung from dead, and both from well', async () => {
    const [first, second] = await linkedPair()
    await expect.poll(async () => (await first.ask<Status>('status')).loopAgeMs, patience).toBeLessThan(600)

    // Hung: it answers, its event loop does not.
    const asked = second.ask('block', { ms: 5000 })
    await second.wait(({ blocking }) => blocking === true)
    await asked
    await expect
      .poll(async () => (await first.ask<Status>('status')).loopAgeMs, { ...patience, interval: 50 })
      .toBeGreaterThan(1500)
    // And well again.
    await expect.poll(async () => (await first.ask<Status>('status')).loopAgeMs, patience).toBeLessThan(600)

    // Dead: it does not answer, and that is known at once.
    second.child.kill('SIGKILL')
    await first.wait(({ event }) => event === 'lost')
    const failure = await first.ask('status').then(
      () => undefined,
      (error: unknown) => error,
    )
    expect(['CONNECTION_LOST', 'CONNECTION_REFUSED']).toContain((failure as { code: string }).code)
    await expect
      .poll(() => first.ask('status').catch(({ code }: { code: string }) => code), patience)
      .toBe('CONNECTION_REFUSED')
  })

  test.runIf(onDevice)('is had from a device for a stopped process, too, and stands still', async () => {
    const [first, second] = await linkedPair()
    second.child.kill('SIGSTOP')
    await sleep(200)
    const { uptimeMs } = await first.ask<Status>('status')
    await sleep(1500)
    expect(await first.ask<Status>('status')).toMatchObject({ uptimeMs })
    second.child.kill('SIGCONT')
    await expect.poll(async () => (await first.ask<Status>('status')).uptimeMs, patience).toBeGreaterThan(uptimeMs)
    expect(first.heard.some(({ event }) => event === 'lost')).toBe(false)
  })

  test.skipIf(onDevice)('is not had from a stopped process, which is said within its deadlines', async () => {
    const [first, second] = await linkedPair()
    second.child.kill('SIGSTOP')
    await expect.poll(() => first.ask('status').catch(({ code }: { code: string }) => code), patience).toBe('TIMEOUT')
    await first.wait(({ event }) => event === 'lost')
    second.child.kill('SIGCONT')
    await first.wait(
      ({ event }) => event === 'linked',
      first.heard.findIndex(({ event }) => event === 'lost'),
    )
    expect(await first.ask<Status>('status')).toMatchObject({ state: 'loading' })
  })

  test('has another boot id after a restart, and the link comes back by itself', async () => {
    const settings = await pairSettings()
    const [first, second] = await linkedPair(settings)
    const before = await first.ask<Status>('status')
    second.child.kill('SIGKILL')
    await first.wait(({ event, partner }) => event === 'lost' && partner === before.bootId)
    const again = new EarlyProcess(settings[1])
    await again.ready()
    await again.ask('whenLinked')
    const linked = await first.wait(({ event, partner }) => event === 'linked' && partner !== before.bootId)
    const after = await first.ask<Status>('status')
    expect(after.bootId).toBe(linked.partner)
    expect(after.bootId).not.toBe(before.bootId)
  })
})

describe('an early link', () => {
  // What puts the units of tests on a device loads the whole package.
  test.skipIf(onDevice)(
    'loads the addon and neither gRPC nor anything else of the package that it does not need',
    async () => {
      const [settings] = await pairSettings()
      const process = new EarlyProcess(settings, 'loaded.cjs')
      const { loaded } = (await process.wait((message) => 'loaded' in message)) as unknown as { loaded: string[] }
      expect(loaded.filter((file) => file.endsWith('.node'))).toHaveLength(1)
      expect(loaded.filter((file) => /grpc|protobuf/.test(file))).toEqual([])
    },
  )

  test('is not started again in worker threads and child processes', async () => {
    const [settings] = await pairSettings()
    const process = new EarlyProcess(settings)
    await process.ready()
    expect(await process.ask('heirs')).toEqual({ inWorker: true, inChild: { none: true } })
  })

  test.each(['app.js', 'blocked.cjs'])('does not hold the process (%s)', async (script) => {
    const [a, b] = await pairSettings()
    const other = new EarlyProcess(b)
    await other.ready()
    const process = new EarlyProcess(a, script, ['forgets'])
    if (script === 'blocked.cjs') await process.wait(({ linked }) => linked === true)
    expect(await process.end()).toBe(0)
    expect(process.output).toBe('')
    expect(other.child.exitCode).toBeNull()
  })

  test('quietly waits for a partner that never comes', async () => {
    const [settings] = await pairSettings()
    const process = new EarlyProcess(settings)
    await process.ready()
    await expect
      .poll(async () => (await process.ask<{ attempts: number }>('report')).attempts, patience)
      .toBeGreaterThan(4)
    await expect(process.ask('whenLinked', { timeoutMs: 50 })).rejects.toMatchObject({
      code: 'TIMEOUT',
      cause: 'CONNECTION_REFUSED',
    })
    expect(process.heard.filter(({ event }) => event !== undefined)).toEqual([])
    await process.ask('close')
    await expect(process.ask('status')).rejects.toMatchObject({ code: 'CLOSED' })
    expect(process.output).toBe('')
  })

  test.each([
    ['a missing address', { RDMA_CHECKPOINT_EARLY_LISTEN: undefined }, 'INVALID_ARGUMENT', /EARLY_LISTEN is not set/],
    ['a missing partner', { RDMA_CHECKPOINT_EARLY_PEER: '' }, 'INVALID_ARGUMENT', /EARLY_PEER is not set/],
    ['an address that is none', { RDMA_CHECKPOINT_EARLY_PEER: 'nonsense' }, 'INVALID_ARGUMENT', /host:port/],
    ['a name for an address', { RDMA_CHECKPOINT_EARLY_PEER: 'localhost:1' }, 'INVALID_ARGUMENT', /numeric/],
    ['a setting that there is not', { RDMA_CHECKPOINT_EARLY_PERR: 'x' }, 'INVALID_ARGUMENT', /EARLY_PERR is none/],
    ['a transport that there is not', { RDMA_CHECKPOINT_EARLY_TRANSPORT: 'tcp' }, 'INVALID_ARGUMENT', /transport/],
    ['a secret that is not there', { RDMA_CHECKPOINT_EARLY_SECRET_FILE: '/none' }, 'INVALID_ARGUMENT', /SECRET_FILE/],
    [
      'no secret where it is needed',
      { RDMA_CHECKPOINT_EARLY_PEER: '10.0.0.1:1', RDMA_CHECKPOINT_EARLY_SECRET_FILE: '' },
      'UNAUTHENTICATED',
      /no secret/,
    ],
  ])('ends the process with a code for %s', async (_what, wrong: Settings, code, text) => {
    const [settings] = await pairSettings()
    const process = new EarlyProcess({ ...settings, ...wrong })
    expect(await process.end()).toBe(1)
    expect(process.output).toContain(code)
    expect(process.output).toMatch(text)
    expect(process.heard).toEqual([])
  })

  test('ends the process with a code when its address is taken', async () => {
    const [settings] = await pairSettings()
    const first = new EarlyProcess(settings)
    await first.ready()
    const second = new EarlyProcess(settings)
    expect(await second.end()).toBe(1)
    expect(second.output).toContain('ADDRESS_IN_USE')
  })

  test('links with the same secret from a file, and not with another', async () => {
    await withFolder(async (folder) => {
      const file = async (name: string, text: string) => {
        await writeFile(path.join(folder, name), text)
        return { RDMA_CHECKPOINT_EARLY_SECRET_FILE: path.join(folder, name) }
      }
      const right = await file('right', 'sixteen bytes and more\n')
      const same = await file('same', 'sixteen bytes and more')
      const wrong = await file('wrong', 'sixteen bytes and less\n')
      const [a, b] = await pairSettings()
      const first = new EarlyProcess({ ...a, ...right })
      await first.ready()
      const stranger = new EarlyProcess({ ...b, ...wrong })
      await stranger.ready()
      await first.wait(({ event, code }) => event === 'error' && code === 'UNAUTHENTICATED')
      await stranger.wait(({ event, code }) => event === 'error' && code === 'UNAUTHENTICATED')
      expect((await first.ask<Report>('report')).links).toBe(0)
      stranger.child.kill('SIGKILL')
      await stranger.end()
      const second = new EarlyProcess({ ...b, ...same })
      await second.ready()
      await second.ask('whenLinked')
      await first.ask('whenLinked')
      expect((await first.ask<Status>('status')).state).toBe('loading')
    })
  })
})

describe('events from before the application asked for the link', () => {
  test('reach the listeners that it adds then', async () => {
    const settings = await pairSettings()
    const first = new EarlyProcess(settings[0])
    await first.ready()
    const late = new EarlyProcess(settings[1], 'app.js', ['late'])
    await first.wait(({ event }) => event === 'linked')
    await late.ready()
    const { partner } = await late.wait(({ event }) => event === 'linked')
    expect(partner).toBe((await first.ask<Report>('report')).bootId)
    // And what comes afterwards comes once, behind it.
    first.child.kill('SIGKILL')
    await late.wait(({ event }) => event === 'lost')
    expect(late.heard.flatMap(({ event }) => event ?? [])).toEqual(['linked', 'lost'])
  })
})

/** What this process has open, by kind: an inode's number says nothing. */
function openFiles(): string[] {
  return readdirSync('/proc/self/fd').flatMap((number) => {
    try {
      return readlinkSync(`/proc/self/fd/${number}`).replace(/\d+/g, '#')
    } catch {
      return [] // the listing's own
    }
  })
}
function more(now: string[], before: string[]): string[] {
  const known = [...before]
  return now.filter((file) => {
    const at = known.indexOf(file)
    if (at >= 0) known.splice(at, 1)
    return at < 0
  })
}
const threads = () => Number(/^Threads:\s*(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1])

describe('the settings', () => {
  const given = { RDMA_CHECKPOINT_EARLY_LISTEN: '127.0.0.1:1', RDMA_CHECKPOINT_EARLY_PEER: '[::1]:2' }

  test('are read from the environment', () => {
    expect(readSettings(given)).toEqual({ listen: '127.0.0.1:1', partner: '[::1]:2' })
    const more = { ...given, RDMA_CHECKPOINT_EARLY_NAME: 'pair', RDMA_CHECKPOINT_EARLY_TRANSPORT: 'verbs', OTHER: 'x' }
    expect(readSettings(more)).toEqual({ listen: '127.0.0.1:1', partner: '[::1]:2', name: 'pair', transport: 'verbs' })
  })
})

describe('a link that the application starts itself', () => {
  const open: Peer[] = []
  afterEach(async () => {
    for (const peer of open.splice(0)) await peer.close()
  })
  const start = (listen: string, partner: string, more = {}) => {
    const peer = Peer.start({ listen, partner, ...deviceOptions, ...more })
    open.push(peer)
    return peer
  }
  const next = (peer: Peer, type: 'linked' | 'lost' | 'error') =>
    new Promise<PeerEvent>((resolve) =>
      peer.addEventListener(type, (event) => resolve(event as PeerEvent), { once: true }),
    )

  test('is the same, with events', async () => {
    expect(earlyPeer()).toBeUndefined()
    const [a, b] = [await freeAddress(), await freeAddress()]
    const first = start(a, b)
    expect(first.address).toBe(a)
    const linked = next(first, 'linked')
    const second = start(b, a)
    await Promise.all([first.whenLinked(), second.whenLinked({ timeoutMs: 0 })])
    expect((await linked).partner).toBe(second.bootId)
    second.publish({ state: 'ready', epoch: 3n, progress: 4n })
    await expect
      .poll(() => first.status(), patience)
      .toMatchObject({ state: 'ready', epoch: 3n, progress: 4n, version: 1 })
    const lost = next(first, 'lost')
    await second[Symbol.asyncDispose]()
    expect(await lost).toMatchObject({ partner: second.bootId, error: { code: 'CONNECTION_LOST' } })
    await expect(second.status()).rejects.toMatchObject({ code: 'CLOSED' })
    expect(() => second.publish({ state: 'x' })).toThrow(expect.objectContaining({ code: 'CLOSED' }))
    await expect(second.whenLinked()).rejects.toMatchObject({ code: 'CLOSED' })
  })

  test('is told of its own mistakes at the call', async () => {
    const peer = start(await freeAddress(), await freeAddress())
    for (const update of [
      { state: '' },
      { state: 'two words' },
      { state: 'x'.repeat(25) },
      { epoch: -1n },
      { progress: 2n ** 64n },
      { epoch: 1 },
    ]) {
      expect(() => peer.publish(update as object)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    }
    const aborted = AbortSignal.abort()
    await expect(peer.status({ signal: aborted })).rejects.toMatchObject({ code: 'ABORTED' })
    await expect(peer.whenLinked({ signal: aborted })).rejects.toMatchObject({ code: 'ABORTED' })
    const soon = new AbortController()
    const waiting = peer.whenLinked({ signal: soon.signal })
    soon.abort()
    await expect(waiting).rejects.toMatchObject({ code: 'ABORTED' })
    const closing = peer.whenLinked()
    await Promise.all([expect(closing).rejects.toMatchObject({ code: 'CLOSED' }), peer.close()])
  })

  test.each([
    [{ listen: 1, partner: '127.0.0.1:1' }, 'INVALID_ARGUMENT'],
    [{ listen: '127.0.0.1:1', partner: '127.0.0.1:0' }, 'INVALID_ARGUMENT'],
    [{ listen: '127.0.0.1:1', partner: '127.0.0.1:1' }, 'INVALID_ARGUMENT'],
    [{ listen: '127.0.0.1:1', partner: '127.0.0.1:2', secret: 'short' }, 'INVALID_ARGUMENT'],
    [{ listen: '127.0.0.1:1', partner: '127.0.0.1:2', secret: 5 }, 'INVALID_ARGUMENT'],
    [{ listen: '127.0.0.1:1', partner: '127.0.0.1:2', name: '' }, 'INVALID_ARGUMENT'],
    [{ listen: '0.0.0.0:1', partner: '127.0.0.1:2' }, 'UNAUTHENTICATED'],
  ])('refuses %j', (options, code) => {
    expect(() => Peer.start(options as never)).toThrow(expect.objectContaining({ code }))
  })

  test('leaves no descriptor and no thread behind', async () => {
    const cycle = async () => {
      const [a, b] = [await freeAddress(), await freeAddress()]
      const pair = [start(a, b), start(b, a)]
      await Promise.all(pair.map((peer) => peer.whenLinked()))
      await Promise.all(pair.map((peer) => peer.close()))
      open.length = 0
    }
    for (let i = 0; i < 5; i++) await cycle()
    const before = { files: openFiles(), threads: threads() }
    for (let i = 0; i < 50; i++) await cycle()
    await expect.poll(() => more(openFiles(), before.files), patience).toEqual([])
    await expect.poll(threads, patience).toBeLessThanOrEqual(before.threads)
  })

  test('in a Worker ends with it, at any moment', async () => {
    const random = new Random(testSeed())
    console.log(`seed ${random.seed}`)
    const [a, b] = [await freeAddress(), await freeAddress()]
    const here = start(a, b)
    for (let i = 0; i < rounds({ long: 200, ci: 25 }); i++) {
      const worker = new Worker(new URL('./early-children/worker.js', import.meta.url), {
        workerData: { listen: b, partner: a, ...deviceOptions },
      })
      await new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject))
      await sleep(random.next() * 30)
      await worker.terminate()
    }
    const again = start(b, a)
    await Promise.all([here.whenLinked(), again.whenLinked()])
  })

  test.skipIf(onDevice)('says that strangers sit on the partner’s port, and links once they are gone', async () => {
    const [own, at] = [await freeAddress(), await freeAddress()]
    const server = http.createServer((_, answer) => answer.end('hello'))
    await new Promise<void>((resolve) => server.listen(Number(at.split(':')[1]), '127.0.0.1', resolve))
    const peer = start(own, at)
    expect((await next(peer, 'error')).error).toMatchObject({ code: 'PROTOCOL_VIOLATION' })
    await expect(peer.status()).rejects.toMatchObject({ code: 'PROTOCOL_VIOLATION' })
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
    start(at, own)
    await peer.whenLinked()
  })

  test.skipIf(onDevice)('turns strangers on its own port away', async () => {
    const [own, at] = [await freeAddress(), await freeAddress()]
    const peer = start(own, at)
    const said = await new Promise<string>((resolve) => {
      let text = ''
      const stranger = net.connect(Number(own.split(':')[1]), '127.0.0.1', () => {
        stranger.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
      })
      stranger.on('data', (chunk) => (text += chunk))
      stranger.on('error', () => resolve(text))
      stranger.on('close', () => resolve(text))
    })
    expect(said).toBe('')
    start(at, own)
    await peer.whenLinked()
  })
})
