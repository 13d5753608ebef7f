/** A pool at the start of its unit: made where that was asked for, and brought into memory. */
import { CheckpointError } from '../errors.js'
import type { NativeModule } from '../native.js'
import type { PoolMedium } from '../pool/medium.js'
import { Pool, type PoolNotices } from '../pool/pool.js'
import type { UnitJournal } from './journal.js'
import { makePool } from './make-pool.js'
import type { CheckedDevdaxPool, CheckedFilePool, CheckedOptions } from './options.js'

/** Regions brought into memory at a time. */
const loadsAtOnce = 4

/** Makes the pool if there is none. What is there is opened, or refused with what is wrong. */
export async function makePoolIfAbsent(
  native: NativeModule,
  options: CheckedFilePool | CheckedDevdaxPool,
  journal: UnitJournal,
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    const { path, bytes, id } = await makePool(native, options, signal)
    journal.tell('pool-made', { what: path, bytes: BigInt(bytes), because: `asked for; its id is ${id}` })
  } catch (error) {
    if (!(error instanceof CheckpointError && error.code === 'POOL_EXISTS')) throw error
  }
}

/** Each life of a memory pool is another one: clients tell them apart by how often it was started. */
export async function openPool(
  medium: PoolMedium,
  options: CheckedOptions['pool'],
  notices: PoolNotices,
): Promise<Pool> {
  if (options.medium !== 'memory') return await Pool.open(medium, notices)
  const { maxRegions } = options
  return await Pool.format(medium, {
    medium: 'memory',
    startsBefore: BigInt(Date.now()),
    ...(maxRegions === undefined ? {} : { maxRegions }),
  })
}

/**
 * Brings what regions hold from the medium into memory, before anybody reads it. One that cannot be read is set apart.
 * @param checkAborted throws when the start was aborted
 */
export async function loadRegions(pool: Pool, journal: UnitJournal, checkAborted: () => void): Promise<void> {
  const records = pool.records()[Symbol.iterator]()
  const worker = async () => {
    for (let next = records.next(); !next.done; next = records.next()) {
      checkAborted()
      await pool.load(next.value)
    }
  }
  const started = performance.now()
  await Promise.all(Array.from({ length: loadsAtOnce }, worker))
  for (const { slot, record, because } of pool.damaged) {
    const what = `entry ${slot} of the region table`
    journal.tell('damaged', {
      what,
      because,
      ...(record === undefined ? {} : { region: record.name, regionId: record.id, epoch: record.epoch }),
    })
  }
  journal.log('info', 'pool loaded', {
    regions: pool.regions,
    afterCrash: !pool.wasClean,
    ms: Math.round(performance.now() - started),
  })
}
