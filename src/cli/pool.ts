/** `rdma-checkpoint pool`: creates a pool. */
import { PersistentMemoryUnit } from '../unit/unit.js'
import { gatherSettings, planPool, type SettingValues } from './serve-settings.js'
import { formatSize } from './sizes.js'
import { printJson, UsageError, withProgress } from './terminal.js'

export async function createPool(flags: SettingValues, options: { config?: string; json?: boolean }): Promise<void> {
  const values = gatherSettings(flags, process.env, options.config)
  const pool = planPool(
    values.medium === undefined && values.path !== undefined ? { ...values, medium: 'file' } : values,
  )
  if (pool.medium === 'memory')
    throw new UsageError('A pool in memory exists only while serve runs: use serve --medium memory.')
  const made = await withProgress('Creating the pool', () => PersistentMemoryUnit.createPool(pool))
  if (options.json) printJson(made)
  else process.stdout.write(`created a pool of ${formatSize(BigInt(made.bytes))} at ${made.path} (${made.id})\n`)
}
