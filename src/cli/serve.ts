/** `rdma-checkpoint serve`: a unit in the foreground, until SIGTERM or SIGINT. */
import { PersistentMemoryUnit } from '../unit/unit.js'
import { jsonLog } from './log.js'
import { gatherSettings, planServe, type SettingValues } from './serve-settings.js'
import { ServiceManager } from './service-manager.js'
import { printJson, withProgress } from './terminal.js'

/** Settles when the unit has stopped gracefully. */
export async function serve(flags: SettingValues, configFile: string | undefined): Promise<void> {
  const plan = planServe(gatherSettings(flags, process.env, configFile))
  const log = jsonLog(plan.logLevel)
  const manager = new ServiceManager(process.env.NOTIFY_SOCKET, (error) =>
    log('warn', 'cannot notify the service manager', { because: String(error) }),
  )
  const stop = new AbortController()
  const stopped = new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve(), { once: true }))
  // SIGHUP: the terminal is gone. The unit only loses the output that went there.
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    process.once(signal, () => {
      log('info', 'stopping', { signal })
      manager.stopping()
      stop.abort(new Error(signal))
    })
  }
  manager.working('Opening the pool')
  const unit = await withProgress('Opening the pool', () =>
    PersistentMemoryUnit.start({ ...plan.unit, log, signal: stop.signal }),
  ).catch((error: unknown) => {
    if (stop.signal.aborted) return undefined
    throw error
  })
  if (unit === undefined) return manager.ended()
  const { id, starts, medium, version } = await unit.status()
  printJson({
    address: unit.address,
    dataAddresses: unit.dataAddresses,
    promises: unit.promises,
    pid: process.pid,
    unit: id,
    starts,
    medium,
    version,
  })
  manager.ready(`Serving on ${unit.address}`)
  unit.addEventListener('state', ({ state, because }) => {
    if (state === 'read-only') manager.tell(`Read-only: ${because ?? 'the medium failed'}`)
  })
  await stopped
  await unit.close({ timeoutMs: 0 }).finally(() => manager.ended())
}
