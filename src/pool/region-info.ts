/** A table entry as users see it. Unit and client both use it: the client reads entries by RDMA. */
import { loggable } from '../call/printed.js'
import type { RegionInfo } from '../types.js'
import type { RegionRecord } from './slot.js'

export function toRegionInfo(record: RegionRecord): RegionInfo {
  return loggable({
    name: record.name,
    id: record.id,
    bytes: BigInt(record.bytes),
    mode: record.mode,
    onFull: record.onFull,
    epoch: record.epoch,
    ...(record.owner === undefined
      ? {}
      : { owner: { identity: record.owner.identity, since: new Date(record.owner.sinceMs) } }),
    lease: { ...record.lease },
    labels: record.labels,
    cursors: record.cursors.map((cursor) => loggable({ ...cursor })),
  })
}
