/** `rdma-checkpoint pool`: a new pool, made because somebody asked for it. */
import { PersistentMemoryUnit } from '../unit/unit.js'
import { gatherSettings, planPool, type SettingValues } from './serve-settings.js'
import { formatSize } from './sizes.js'
import { printJson, UsageError, withProgress } from './terminal.js'

export async function createPool(flags: SettingValues, options: { config?: string; json?: boolean }): Promise<void> {
  const values = gatherSettings(flags, process.env, options.config)
  const pool = planPool(
    values.medium === undefined && values.path !== undefined ? { ...values, medium: 'file' } : values,
  )
  if (pool.medium === 'memory') throw new UsageError('A pool in memory is made by serve, and gone with it.')
  const made = await withProgress('Making the pool', () => PersistentMemoryUnit.createPool(pool))
  if (options.json) printJson(made)
  else process.stdout.write(`made a pool of ${formatSize(BigInt(made.bytes))} at ${made.path} (${made.id})\n`)
}
