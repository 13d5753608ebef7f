/** `rdma-checkpoint serve`: a unit in the foreground, until SIGTERM or SIGINT. */
import { PersistentMemoryUnit } from '../unit/unit.js'
import { jsonLog } from './log.js'
import { gatherSettings, planServe, type SettingValues } from './serve-settings.js'
import { printJson, withProgress } from './terminal.js'

/** Settles when the unit has stopped in order. */
export async function serve(flags: SettingValues, configFile: string | undefined): Promise<void> {
  const plan = planServe(gatherSettings(flags, process.env, configFile))
  const log = jsonLog(plan.logLevel)
  const stop = new AbortController()
  const stopped = new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve(), { once: true }))
  // SIGHUP: the terminal is gone, and with it only what is written there.
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    process.once(signal, () => {
      log('info', 'stopping', { signal })
      stop.abort(new Error(signal))
    })
  }
  const unit = await withProgress('Opening the pool', () =>
    PersistentMemoryUnit.start({ ...plan.unit, log, signal: stop.signal }),
  ).catch((error: unknown) => {
    if (stop.signal.aborted) return undefined
    throw error
  })
  if (unit === undefined) return
  const { id, generation, medium, version } = await unit.status()
  printJson({
    address: unit.address,
    dataAddresses: unit.dataAddresses,
    promises: unit.promises,
    pid: process.pid,
    unit: id,
    generation,
    medium,
    version,
  })
  await stopped
  await unit.close({ timeoutMs: 0 })
}
