import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { builtIndex, nextMessage, startChild, withFolder } from './client-support.js'

const kinds = 'append,stream,write,read,follow,watch,control,open,connect,pair,standby'.split(',')

/** One process with calls pending, and what it said of each kind. */
class Pending {
  readonly ready = new Set<string>()
  readonly settled = new Map<string, string>()
  readonly early: string[] = []
  readonly #child: ChildProcess
  #output = ''

  constructor(
    address: string,
    style: 'main' | 'top-level' | 'workers',
    readonly kinds: string[],
  ) {
    const file = fileURLToPath(new URL('client-children/pending.js', import.meta.url))
    this.#child = spawn(process.execPath, [file, builtIndex, address, style, kinds.join(',')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    this.#child.stdout?.on('data', (chunk) => {
      const lines = (this.#output + chunk).split('\n')
      this.#output = lines.pop() ?? ''
      for (const line of lines) this.#note(line)
    })
  }

  async whenReady(): Promise<void> {
    while (this.kinds.some((kind) => !this.ready.has(kind))) {
      const [kind, code] = [...this.settled].find(([settled]) => !this.ready.has(settled)) ?? []
      if (kind !== undefined) throw new Error(`${kind} could not begin: ${code}`)
      if (this.#child.exitCode !== null) throw new Error(`ended with ${this.#child.exitCode}`)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null) return
    this.#child.kill('SIGKILL')
    await once(this.#child, 'exit')
  }

  #note(line: string): void {
    const [what, kind = '', code = ''] = line.split(' ')
    if (what === 'ready') this.ready.add(kind)
    if (what === 'settled') this.settled.set(kind, code)
    if (what === 'over' && !this.settled.has(kind)) this.early.push(kind)
  }
}

/** Kills the unit of processes that all have calls pending. @returns those that ended before their calls had */
async function afterKill(signal: 'SIGKILL' | 'SIGTERM', start: (address: string) => Pending[]): Promise<string[]> {
  return await withFolder(async (folder) => {
    const unit = startChild('unit.js', builtIndex, '127.0.0.1:0', path.join(folder, 'pool'))
    const { address } = await nextMessage<{ address: string }>(unit)
    const all = start(address)
    try {
      await Promise.all(all.map((pending) => pending.whenReady()))
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 200))
      unit.kill(signal)
      await once(unit, 'exit')
      // Longer than the pause between two tries, in which nothing but the call itself holds the process.
      await new Promise((resolve) => setTimeout(resolve, 1500))
      return all.flatMap(({ early }) => early)
    } finally {
      if (unit.exitCode === null && unit.signalCode === null) unit.kill('SIGKILL')
      await Promise.all(all.map((pending) => pending.end()))
    }
  })
}

test.each(['SIGKILL', 'SIGTERM'] as const)(
  'whatever is pending when the unit is gone by %s holds its process, and its worker, until it is settled',
  async (signal) => {
    const early = await afterKill(signal, (address) => [
      new Pending(address, 'workers', kinds),
      new Pending(address, 'main', ['append']),
      new Pending(address, 'top-level', ['stream']),
      new Pending(address, 'main', ['pair']),
    ])
    expect(early).toEqual([])
  },
)

test.runIf(process.env.RC_LONG === '1')(
  'of 1,000 processes whose unit is stopped or killed, none ends by itself',
  async () => {
    let processes = 0
    const early: string[] = []
    for (let round = 0; processes < 1000; round++) {
      const found = await afterKill(round % 2 === 0 ? 'SIGTERM' : 'SIGKILL', (address) => [
        ...['append', 'stream', 'pair', 'append'].map(
          (kind, at) => new Pending(address, at % 2 ? 'top-level' : 'main', [kind]),
        ),
        ...Array.from({ length: 6 }, () => new Pending(address, 'main', ['watch'])),
      ])
      early.push(...found)
      processes += 10
      if (processes % 100 === 0) console.log(`${processes} processes so far, ${early.length} ended early`)
    }
    console.log(`${processes} processes, ${early.length} ended early: ${early}`)
    expect(early).toEqual([])
  },
)
