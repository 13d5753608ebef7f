export class Random {
  constructor(...seeds: number[])
  uint32(): number
  fraction(): number
  integer(low: number, high: number): number
  logUniform(low: number, high: number): number
  chance(probability: number): boolean
  pick<T>(choices: readonly T[]): T
  fill<T extends Uint8Array>(target: T): T
}
