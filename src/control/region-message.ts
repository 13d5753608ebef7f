/** RegionInfo as its message, and the names of modes, policies and events on the wire. */
import type { OnFull, RegionEventType, RegionInfo, RegionMode } from '../types.js'
import type { OnFullName, RegionEventTypeName, RegionInfoMessage, RegionModeName } from './messages.js'

export const modeNames: Readonly<Record<RegionMode, RegionModeName>> = {
  append: 'APPEND',
  overwrite: 'OVERWRITE',
  raw: 'RAW',
}
export const onFullNames: Readonly<Record<OnFull, OnFullName>> = {
  'drop-oldest': 'DROP_OLDEST',
  wait: 'WAIT',
  fail: 'FAIL',
}

export const eventTypeNames: Readonly<Record<RegionEventType, RegionEventTypeName>> = {
  created: 'CREATED',
  opened: 'OPENED',
  'owner-lost': 'OWNER_LOST',
  released: 'RELEASED',
  'taken-over': 'TAKEN_OVER',
  cleared: 'CLEARED',
  deleted: 'DELETED',
}

/** Undefined for one that this version does not know. */
export function eventTypeOf(name: RegionEventTypeName): RegionEventType | undefined {
  return keyOf(eventTypeNames, name)
}
/** The mode of that name; `append`, the default, where none is given. */
export function modeOf(name: RegionModeName): RegionMode {
  return keyOf(modeNames, name) ?? 'append'
}
/** The policy of that name; `drop-oldest`, the default, where none is given. */
export function onFullOf(name: OnFullName): OnFull {
  return keyOf(onFullNames, name) ?? 'drop-oldest'
}

export function toRegionMessage(info: RegionInfo, ownerLost: boolean): RegionInfoMessage {
  return {
    name: info.name,
    id: info.id,
    bytes: String(info.bytes),
    mode: modeNames[info.mode],
    onFull: onFullNames[info.onFull],
    epoch: String(info.epoch),
    owner: info.owner?.identity ?? '',
    ownerSinceMs: String(info.owner?.since.getTime() ?? 0),
    labels: { ...info.labels },
    lease: { silenceMs: info.lease.silenceMs, stallMs: info.lease.stallMs },
    cursors: info.cursors.map(({ name, epoch, sequence }) => ({
      name,
      epoch: String(epoch),
      sequence: String(sequence),
    })),
    ownerLost,
  }
}

function keyOf<K extends string, V>(names: Readonly<Record<K, V>>, wanted: V): K | undefined {
  for (const key in names) if (names[key] === wanted) return key
  return undefined
}
