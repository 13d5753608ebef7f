export { PairEvent, type PairEvents, type Role, WaitingEvent, type WaitingReason } from './pair-events.js'
export { type DamageChoice, type PairOptions, type Primary, ProcessPair } from './process-pair.js'
