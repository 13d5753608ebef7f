export { PairEvent, type PairOptions, type Primary, ProcessPair, type Role } from './process-pair.js'
