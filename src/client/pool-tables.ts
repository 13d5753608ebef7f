/**
 * A unit's region table, read by RDMA: one read-only connection for each client, made at the first use. What is read is
 * parsed by the code that the unit itself uses.
 */

import { Call } from '../call/call.js'
import { newBytes } from '../call/new-bytes.js'
import { Secret } from '../call/printed.js'
import { CheckpointError } from '../errors.js'
import { operationKind } from '../native.js'
import { toRegionInfo } from '../pool/region-info.js'
import { newestCopy, parseSlot } from '../pool/slot.js'
import type { CallOptions, RegionInfo } from '../types.js'
import { closedError } from './call-errors.js'
import type { Opened, Opener } from './region-connection.js'
import { Transfer } from './transfer.js'
import { type QueueContext, TransferQueue } from './transfer-queue.js'
import { UndurableWrites } from './undurable.js'
import type { UnitSession } from './unit-session.js'

interface OpenedTables extends Opened {
  session: bigint
  offsets: readonly [number, number]
  slotBytes: number
  slots: number
}

/** Both copies are torn only while the unit writes one and a crash left the other so; or a read met two writes. */
const maxTries = 8
/** A table entry that a peer announces to be larger is not one. */
const maxSlotBytes = 1024 * 1024
/** Whoever closes waits no longer for the unit to confirm it. */
const closeMs = 500

export class PoolTables {
  #session: UnitSession
  #context: QueueContext
  #queue: TransferQueue<OpenedTables> | undefined
  #opening: Promise<TransferQueue<OpenedTables>> | undefined
  #openingQueue: TransferQueue<OpenedTables> | undefined
  #closed = false

  constructor(session: UnitSession, context: QueueContext) {
    this.#session = session
    this.#context = context
  }

  /** @throws CheckpointError `REGION_NOT_FOUND` when the entry holds another region, or none */
  async read(slot: number, region: { name: string; id: string }, options: CallOptions): Promise<RegionInfo> {
    const call = new Call(`Reading the metadata of region '${region.name}'`, options)
    const queue = await this.#ready(call)
    for (let attempt = 0; attempt < maxTries; attempt++) {
      const tables = queue.connection.opened
      if (tables === undefined || slot >= tables.slots) break
      const { slotBytes, offsets } = tables
      const copies = [newBytes(slotBytes), newBytes(slotBytes)] as const
      const transfer = new Transfer(queue, {
        what: call.what,
        kind: operationKind.read,
        offsets: offsets.map((offset) => offset + slot * slotBytes),
        buffers: copies,
        options: call.rest(),
        result: () => undefined,
        ours: true,
      })
      queue.submit(transfer)
      await transfer.promise
      const pool = this.#session.unit?.id ?? ''
      const newest = newestCopy(parseSlot(copies[0], pool, slot), parseSlot(copies[1], pool, slot))
      if (newest === undefined) continue
      if (newest.slot.state !== 'used' || newest.slot.record.id !== region.id) {
        throw new CheckpointError('REGION_NOT_FOUND', `Region '${region.name}' (${region.id}) is not there any more.`)
      }
      return toRegionInfo(newest.slot.record)
    }
    throw new CheckpointError(
      'POOL_DAMAGED',
      `The entry of region '${region.name}' in the tables of the unit ${this.#session.address} could not be parsed.`,
      { help: 'Look at the pool with rdma-checkpoint inspect; the region itself may be whole.' },
    )
  }

  /** Ends what waits for it. */
  async close(): Promise<void> {
    this.#closed = true
    const queue = this.#queue ?? this.#openingQueue
    queue?.connection.end(closedError(`the tables of the unit ${this.#session.address}`))
    await queue?.close(1)
  }

  /** What several callers wait for is not ended by the signal or the time of one. */
  async #ready(call: Call): Promise<TransferQueue<OpenedTables>> {
    if (this.#queue !== undefined && this.#queue.connection.failure === undefined) return this.#queue
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined
    })
    return await call.race(this.#opening)
  }

  async #open(): Promise<TransferQueue<OpenedTables>> {
    const session = this.#session
    const opener: Opener<OpenedTables> = {
      changes: false,
      what: `the tables of the unit ${session.address}`,
      region: undefined,
      async open(previous, timeoutMs) {
        const id = await session.ready(timeoutMs)
        const previousHandle = previous !== undefined && previous.session === id ? previous.handle : 0n
        const reply = await session.callAs(id, 'OpenTables', { previousHandle }, { timeoutMs })
        const { handle, token, endpoints, slotBytes, slots } = reply
        if (slotBytes < 1 || slotBytes > maxSlotBytes) {
          throw new CheckpointError('PROTOCOL_VIOLATION', `The unit announced table entries of ${slotBytes} bytes.`)
        }
        const offsets = [Number(reply.tableOffsetA), Number(reply.tableOffsetB)] as const
        return { handle, session: id, token: new Secret(token), endpoints, offsets, slotBytes, slots }
      },
      async close(opened) {
        if (opened !== undefined) {
          await session.callAs(opened.session, 'CloseRegion', { handle: opened.handle }, { timeoutMs: closeMs })
        }
        return undefined
      },
    }
    // Nothing is ever written here.
    const queue = new TransferQueue(this.#context, opener, new UndurableWrites())
    if (this.#closed) throw closedError(opener.what)
    this.#openingQueue = queue
    try {
      await queue.connection.open({})
    } finally {
      this.#openingQueue = undefined
    }
    this.#queue = queue
    return queue
  }
}
