// A unit on a file pool that lives, is killed at a random moment of its work, and lives again.
import { rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, connect } from '../../../src/index.js'
import { LogHistory, type LogPlan } from './log-history.js'
import { Random } from './random.mjs'
import { shadowAddon, temporaryFolder, UnitProcess, within } from './unit-process.js'

export interface LivesOptions {
  seed: number
  kills: number
  logs: readonly LogPlan[]
  /** Create regions while it works, and expect each that was acknowledged. */
  createRegions: boolean
  /** The control run: the shadow's fdatasync claims success and does nothing. */
  skipSync?: boolean
  /** Ends the run at the first difference. */
  stopWhenWrong?: boolean
}

export interface LivesReport {
  wrong: string[]
  kills: number
  acknowledged: number
  regionsCreated: number
}

const poolBytes = 32 * 1024 * 1024

export async function killOverAndOver(options: LivesOptions): Promise<LivesReport> {
  const folder = temporaryFolder()
  try {
    return await liveAndDie(`${folder}/pool`, options)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function liveAndDie(path: string, options: LivesOptions): Promise<LivesReport> {
  const random = new Random(options.seed, 77)
  const shadow = { RDMA_CHECKPOINT_ADDON: shadowAddon }
  const histories = options.logs.map((plan) => new LogHistory(plan, options.seed))
  const regions = new Set<string>()
  const report: LivesReport = { wrong: [], kills: 0, acknowledged: 0, regionsCreated: 0 }

  function counted(): LivesReport {
    report.acknowledged = histories.reduce((sum, history) => sum + history.acknowledged, 0)
    report.regionsCreated = regions.size
    return report
  }

  // The pool and its logs are made in a first, undisturbed life.
  const first = await UnitProcess.start({ pool: { medium: 'file', path, bytes: poolBytes }, env: shadow })
  const maker = await connect(first.address)
  for (const history of histories) await history.create(maker)
  await maker.close()
  await within(first.stop(), 20_000, 'orderly stop of the unit')

  const env = options.skipSync ? { ...shadow, RC_TEST_SKIP_SYNC: '1' } : shadow
  for (let round = 1; round <= options.kills; round++) {
    // One in ten dies while it starts.
    if (random.chance(0.1)) await killWhileStarting(path, env, random.integer(0, 500))
    let unit: UnitProcess
    try {
      unit = await UnitProcess.start({ pool: { medium: 'file', path }, env })
    } catch (error) {
      report.wrong.push(`round ${round}: the pool does not open: ${error}`)
      return counted()
    }
    try {
      const client = await connect(unit.address, { timeoutMs: 10_000 })
      report.wrong.push(...(await differences(client, histories, regions)).map((text) => `round ${round}: ${text}`))
      if (report.wrong.length > 0 && options.stopWhenWrong) {
        await client.close({ timeoutMs: 1_000 })
        return counted()
      }
      const dying = new AbortController()
      let opened = 0
      let allOpen = (): void => {}
      const writing = new Promise<void>((resolve) => {
        allOpen = resolve
      })
      const onOpen = (): void => {
        if (++opened === histories.length) allOpen()
      }
      const work = histories.map((history) => history.write(client, round, random, dying.signal, onOpen))
      if (options.createRegions) work.push(createRegions(client, round, regions, dying.signal))
      const settled = Promise.allSettled(work)
      // A failure before the kill is one of the product's, not of the test's.
      const early = Promise.race(work).catch((error: unknown) => error)
      const moment = writing.then(() => sleep(random.integer(0, 250)))
      const failed = await within(Promise.race([moment, early]), 30_000, `round ${round}: opening the logs`)
      if (failed instanceof Error) report.wrong.push(`round ${round}: failed before the kill: ${failed}`)
      await unit.kill()
      report.kills++
      dying.abort()
      await within(settled, 20_000, `round ${round}: end of the calls in flight`)
      await within(client.close({ timeoutMs: 1_000 }), 20_000, `round ${round}: close of the client`)
    } finally {
      await unit.kill()
    }
  }

  const last = await UnitProcess.start({ pool: { medium: 'file', path }, env: shadow }).catch((error: unknown) => error)
  if (!(last instanceof UnitProcess)) report.wrong.push(`in the end: the pool does not open: ${last}`)
  else {
    const client = await connect(last.address)
    report.wrong.push(...(await differences(client, histories, regions)).map((text) => `in the end: ${text}`))
    await client.close()
    await last.stop()
  }
  return counted()
}

async function killWhileStarting(path: string, env: Record<string, string>, afterMs: number): Promise<void> {
  const start = UnitProcess.start({
    pool: { medium: 'file', path },
    env,
    onSpawn: (child) => setTimeout(() => child.kill('SIGKILL'), afterMs),
  })
  await start.then(
    (unit) => unit.kill(),
    () => {},
  )
}

async function differences(client: Client, histories: LogHistory[], regions: Set<string>): Promise<string[]> {
  const wrong: string[] = []
  for (const history of histories) wrong.push(...(await history.check(client)))
  const listed = new Set<string>()
  for await (const region of client.regions({ prefix: 'made-' })) listed.add(region.name)
  for (const name of regions) if (!listed.has(name)) wrong.push(`${name} was created, and is gone`)
  return wrong
}

/** A region is there for good as soon as createRegion has answered; every other one is deleted again. */
async function createRegions(client: Client, round: number, regions: Set<string>, stop: AbortSignal): Promise<void> {
  for (let number = 0; !stop.aborted; number++) {
    const name = `made-${round}-${number}`
    const region = await client.createRegion(name, { bytes: 4096, mode: 'raw', signal: stop })
    regions.add(name)
    await region.close()
    if (number % 2 === 1 || regions.size > 60) {
      // From here on it may be there or not.
      regions.delete(name)
      await client.deleteRegion(name, { signal: stop })
    }
    await sleep(5)
  }
}
