/** What other folders use of the checkpoint formats. */
export type { Checkpoint, CheckpointInfo, DamagedCheckpoints } from './checkpoint.js'
export { type Codec, type CodecOf, codecName, json, raw, v8Codec } from './codec.js'
export type { Follow, FollowOptions, Lag } from './follow.js'
export { CheckpointLog, type LogOptions, openLog } from './log.js'
export type { SequenceRange } from './log-view.js'
export type { MendedMetadata } from './placement.js'
export { CheckpointReader, type LatestOptions, openReader, type ReaderOptions } from './reader.js'
export type { LogFinding, RegionReadAccess, RegionWriteAccess } from './region-access.js'
