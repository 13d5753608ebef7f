/** What other folders use of the checkpoint formats. */
export type { Checkpoint, CheckpointInfo, DamagedCheckpoints } from './checkpoint.js'
export { type Codec, type CodecOf, codecName, json, raw, v8Codec } from './codec.js'
export type { MendedMetadata, SequenceRange } from './findings.js'
export type { Follow, Lag } from './follow.js'
export { CheckpointLog, openLog } from './log.js'
export type { FollowOptions, LatestOptions, LogOptions, ReaderOptions } from './options.js'
export { CheckpointReader, openReader } from './reader.js'
export type { LogFinding, RecordWriteOptions, RegionReadAccess, RegionWriteAccess } from './region-access.js'
