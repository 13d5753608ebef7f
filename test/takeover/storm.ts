/** Drives takeovers under load, one after the other, and has the checker look at the history of each. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { dataHost, dataTransport } from '../data-plane.js'
import { Random } from '../fault/support/random.mjs'
import { shadowAddon } from '../fault/support/unit-process.js'
import type { Fault } from './faults.js'
import { Namespaces } from './namespaces.js'
import { Season } from './season.js'
import type { StormReport } from './storm-report.js'

export interface StormOptions {
  name: string
  seed: number
  takeovers: number
  faults: readonly Fault[]
  /** The unit is killed and started again now and then: on a file whose unsynced writes a kill loses. */
  unitDies?: boolean
  /** Before it dies its medium fails, more often than not: syncs fail, and what they were to write is gone. */
  mediaFail?: boolean
  /** Each process on a host of its own, which can be cut off. */
  network?: boolean
  /** There, flows of an owner or a standby are dropped in silence just before, in one direction or in both. */
  flowsDrop?: boolean
  /** The control: the unit does not fence. */
  unfenced?: boolean
}

/** Takeovers that share a unit, a region and processes: a history of that length is checked as a whole. */
const seasonLength = 20
const folder = fileURLToPath(new URL('../../build/takeover', import.meta.url))

export async function storm(options: StormOptions): Promise<StormReport> {
  const { name, seed, takeovers } = options
  const random = new Random(seed)
  const report: StormReport = {
    takeovers: 0,
    others: 0,
    byFault: {},
    unitKills: 0,
    mediaFailures: 0,
    flowsDropped: 0,
    unitStops: 0,
    appends: 0,
    acknowledged: 0,
    late: 0,
    bytes: 0,
    followed: 0,
    laps: 0,
    readings: 0,
    wrong: [],
  }
  const namespaces = options.network ? new Namespaces() : undefined
  try {
    for (let number = 1; report.takeovers < takeovers && report.wrong.length === 0; number++) {
      const history = path.join(folder, `${name}-${seed}-${number}`)
      rmSync(history, { recursive: true, force: true })
      mkdirSync(history, { recursive: true })
      const season = new Season({
        folder: history,
        random,
        faults: options.faults,
        takeovers: Math.min(seasonLength, takeovers - report.takeovers),
        unitDies: options.unitDies === true,
        mediaFail: options.mediaFail === true,
        flowsDrop: options.flowsDrop === true,
        namespaces,
        unitEnvironment: {
          ...(options.unitDies || options.unfenced ? { RDMA_CHECKPOINT_ADDON: shadowAddon } : {}),
          ...(options.unfenced ? { RC_TEST_SKIP_FENCE: '1' } : {}),
        },
        // Longer where the machine is emulated; but shorter than the longest pulse, or nobody would ever be lost by them.
        silenceMs: Number(process.env.RC_SILENCE_MS ?? (dataTransport === 'verbs' ? 500 : 200)),
        patienceMs: dataTransport === 'verbs' ? 300_000 : 180_000,
        data: dataTransport === 'verbs' ? dataHost : undefined,
      })
      await season.run(report)
      if (report.wrong.length > 0) {
        report.kept = history
        writeFileSync(path.join(history, 'wrong.txt'), report.wrong.join('\n'))
      } else rmSync(history, { recursive: true, force: true })
    }
  } finally {
    namespaces?.remove()
  }
  return report
}
