/** What a client and its regions share: the session, the tables, memory, checksums. */
import type { VerifiedCheckpoints } from '../checkpoint/verified.js'
import type { NativeModule } from '../native.js'
import type { PoolTables } from './pool-tables.js'
import type { StagingMemory } from './registered-memory.js'
import type { QueueContext } from './transfer-queue.js'
import type { UnitSession } from './unit-session.js'

export interface ClientCore {
  native: NativeModule
  session: UnitSession
  tables: PoolTables
  staging: StagingMemory
  /** What all data connections of the client share. */
  shared: QueueContext
  verified: VerifiedCheckpoints
}
