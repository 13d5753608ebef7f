/** RegionInfo as a message, and the names of modes, policies and events on the wire. */
import { CheckpointError } from '../errors.js'
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
/**
 * The mode of that name; `append`, the default, where none is given.
 * @throws CheckpointError `INVALID_ARGUMENT` one that this version does not know
 */
export function modeOf(name: RegionModeName): RegionMode {
  return name === 'REGION_MODE_UNSPECIFIED' ? 'append' : (keyOf(modeNames, name) ?? unknownValue('mode'))
}
/**
 * The policy of that name; `drop-oldest`, the default, where none is given.
 * @throws CheckpointError `INVALID_ARGUMENT` one that this version does not know
 */
export function onFullOf(name: OnFullName): OnFull {
  return name === 'ON_FULL_UNSPECIFIED' ? 'drop-oldest' : (keyOf(onFullNames, name) ?? unknownValue('on_full'))
}

export function toRegionMessage(info: RegionInfo, ownerLost: boolean): RegionInfoMessage {
  return {
    name: info.name,
    id: info.id,
    bytes: info.bytes,
    mode: modeNames[info.mode],
    onFull: onFullNames[info.onFull],
    epoch: info.epoch,
    owner: info.owner?.identity ?? '',
    ownerSinceMs: BigInt(info.owner?.since.getTime() ?? 0),
    labels: new Map(Object.entries(info.labels)),
    lease: { silenceMs: info.lease.silenceMs, stallMs: info.lease.stallMs },
    cursors: info.cursors.map(({ name, epoch, sequence }) => ({ name, epoch, sequence })),
    ownerLost,
  }
}

/** A value from a newer client, which must not silently become something else. */
export function unknownValue(field: string): never {
  throw new CheckpointError('INVALID_ARGUMENT', `This unit does not know the requested ${field}.`, {
    help: 'Upgrade the unit.',
  })
}

function keyOf<K extends string, V>(names: Readonly<Record<K, V>>, wanted: V): K | undefined {
  for (const key in names) if (names[key] === wanted) return key
  return undefined
}
