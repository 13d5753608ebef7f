/** The public names of rdma-checkpoint. */
export {
  type Checkpoint,
  type CheckpointInfo,
  CheckpointLog,
  CheckpointReader,
  type Codec,
  type CodecOf,
  type DamagedCheckpoints,
  type Follow,
  type FollowOptions,
  json,
  type Lag,
  type LatestOptions,
  type LogOptions,
  type MendedMetadata,
  type ReaderOptions,
  raw,
  type SequenceRange,
  v8Codec,
} from './checkpoint/index.js'
export type { Appended } from './checkpoint/writer/jobs.js'
export { Client } from './client/client.js'
export {
  type ClientEvents,
  ConnectionEvent,
  type ConnectionKind,
  LogEvent,
  OwnershipEvent,
} from './client/client-events.js'
export { connect } from './client/connect.js'
export { Region, RegionReader } from './client/region.js'
export { CheckpointError, type CheckpointErrorOptions, type ErrorCode, errorCodes, type Outcome } from './errors.js'
export {
  type DamageChoice,
  PairEvent,
  type PairEvents,
  type PairOptions,
  type Primary,
  ProcessPair,
  type Role,
  WaitingEvent,
  type WaitingReason,
} from './failover/index.js'
export { earlyPeer } from './peer/early-link.js'
export type { PeerOptions } from './peer/options.js'
export { Peer, PeerEvent, type PeerReport, type PeerStatus, type PeerUpdate } from './peer/peer.js'
export { type Listener, type ListenerOptions, TypedEventTarget } from './typed-events.js'
export type {
  Ack,
  AddressContext,
  CallOptions,
  ConnectOptions,
  Cursor,
  Durability,
  DurableMethod,
  Lease,
  OnFull,
  OpenOptions,
  Range,
  RegionEvent,
  RegionEventType,
  RegionInfo,
  RegionMode,
  RegionOptions,
  RegisteredBuffer,
  Size,
  Transport,
  UnitStatus,
  WriteOptions,
} from './types.js'
export { UnitEvent, type UnitEventFacts, type UnitEvents, type UnitEventType } from './unit/journal.js'
export type { MadePool } from './unit/make-pool.js'
export type { Limits, LogLevel, MakingOptions, PoolOptions, Security, UnitLog, UnitOptions } from './unit/options.js'
export { PersistentMemoryUnit } from './unit/unit.js'
