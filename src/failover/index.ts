export { PairEvent, type PairEvents, type Role, WaitingEvent, type WaitingReason } from './pair-events.js'
export type { DamageChoice, PairOptions, Primary } from './pair-options.js'
export { ProcessPair } from './process-pair.js'
