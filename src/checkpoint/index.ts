/** What other folders use of the checkpoint formats. */
export type { Checkpoint, CheckpointInfo } from './checkpoint.js'
export { type Codec, type CodecOf, codecName, json, raw, v8Codec } from './codec.js'
export type { Follow, FollowOptions, Lag } from './follow.js'
export { CheckpointLog, type LogOptions, openLog } from './log.js'
export { CheckpointReader, openReader, type ReaderOptions } from './reader.js'
export type { RegionReadAccess, RegionWriteAccess } from './region-access.js'
