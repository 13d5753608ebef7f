import type { Found, HistoryEvent } from '../history.js'

type Event = HistoryEvent extends infer E ? (E extends HistoryEvent ? Omit<E, 'at' | 'by'> : never) : never

export function now(): number
export function hashOf(bytes: Uint8Array): string
export function foundOf(checkpoint: { epoch: bigint; sequence: bigint; value: Uint8Array }): Found
export class Recorder {
  constructor(path: string, by: string)
  readonly by: string
  add(event: Event): number
}
