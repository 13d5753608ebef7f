/** RegionInfo from what the control plane says, and the names it uses. */

import { loggable } from '../call/printed.js'
import type { OnFullName, RegionInfoMessage, RegionModeName } from '../control/messages.js'
import { CheckpointError } from '../errors.js'
import type { OnFull, RegionInfo, RegionMode } from '../types.js'

const modes: Readonly<Record<RegionMode, RegionModeName>> = { append: 'APPEND', overwrite: 'OVERWRITE', raw: 'RAW' }
const policies: Readonly<Record<OnFull, OnFullName>> = { 'drop-oldest': 'DROP_OLDEST', wait: 'WAIT', fail: 'FAIL' }

export function toModeName(mode: RegionMode): RegionModeName {
  return known(modes, mode, 'mode')
}

export function toOnFullName(onFull: OnFull): OnFullName {
  return known(policies, onFull, 'onFull')
}

export function fromMessage(message: RegionInfoMessage | undefined): RegionInfo {
  if (message === undefined) throw new CheckpointError('PROTOCOL_VIOLATION', 'The unit answered without a region.')
  const { name, id, bytes, epoch, owner, ownerSinceMs, labels, lease, cursors } = message
  return loggable({
    name,
    id,
    bytes,
    mode: named(modes, message.mode, 'mode'),
    onFull: named(policies, message.onFull, 'policy'),
    epoch,
    ...(owner === '' ? {} : { owner: { identity: owner, since: new Date(Number(ownerSinceMs)) } }),
    lease: { silenceMs: lease?.silenceMs ?? 1_000, stallMs: lease?.stallMs ?? 10_000 },
    labels: Object.fromEntries(labels),
    cursors: cursors.map(({ name, epoch, sequence }) => loggable({ name, epoch, sequence })),
  })
}

function known<K extends string, V>(table: Readonly<Record<K, V>>, key: K, what: string): V {
  if (!Object.hasOwn(table, key)) {
    throw new CheckpointError(
      'INVALID_ARGUMENT',
      `${what} must be one of ${Object.keys(table).join(', ')}; it is ${String(key)}.`,
    )
  }
  return table[key]
}

function named<K extends string, V>(table: Readonly<Record<K, V>>, value: V, what: string): K {
  for (const key of Object.keys(table) as K[]) if (table[key] === value) return key
  throw new CheckpointError('PROTOCOL_VIOLATION', `The unit answered with unknown ${what} ${String(value)}.`)
}
