/**
 * The ring of an append region as its readers see it: from an entry or a tip, which name records, along the chain of records.
 *
 * A record is used only when its header is sound for its place. A chain goes on only from a record to one that names it.
 */
import type { Deadline } from '../deadline.js'
import { type AppendGeometry, cellBytes } from '../geometry.js'
import type { Item } from '../log-view.js'
import type { LogMetadata } from '../metadata/copies.js'
import type { Anchor } from '../metadata/directory.js'
import { type Crc32c, continues, isBridge, type RecordHeader } from '../record/header.js'
import { compareOrder } from '../record/order.js'
import { Assembler } from '../record/stored.js'
import { RecordWindow } from '../record/window.js'
import type { RegionReadAccess } from '../region-access.js'

/** Entries tried to find one record. */
const mostAnchors = 4
/** In front of a record behind a hole, others of its chain are looked for this far. */
export const mostScannedCells = (64 * 1024 * 1024) / cellBytes

/** A record as it is named by an entry, by a tip, or by itself. */
export type Named = Pick<Anchor, 'position' | 'headerCrc' | 'epoch' | 'sequence'>

export class Ring {
  readonly access: RegionReadAccess
  readonly geometry: AppendGeometry
  readonly instance: Uint8Array
  readonly instanceCrc: number
  readonly crc32c: Crc32c
  /** Everything up to here is durable, whatever the log says. */
  durableSequence: () => bigint = () => 0n

  constructor(access: RegionReadAccess, geometry: AppendGeometry, instance: Uint8Array) {
    this.access = access
    this.geometry = geometry
    this.instance = instance
    this.instanceCrc = access.crc32c(instance)
    this.crc32c = (bytes, seed) => access.crc32c(bytes, seed)
  }

  window(deadline: Deadline): RecordWindow {
    return new RecordWindow(this.access, this.geometry.area, this.instance, deadline)
  }

  segmentOf(position: number): number {
    return Math.floor(position / this.geometry.segmentCells)
  }

  async isThere(
    { position, headerCrc }: Pick<RecordHeader, 'position' | 'headerCrc'>,
    deadline: Deadline,
  ): Promise<boolean> {
    return (await this.window(deadline).header(position, true))?.headerCrc === headerCrc
  }

  /** The chain of records from an entry's on; none when the entry's is not there. */
  async run(entry: Anchor, until: bigint | undefined, window: RecordWindow): Promise<RecordHeader[]> {
    const run: RecordHeader[] = []
    let header = await window.header(entry.position)
    if (header?.headerCrc !== entry.headerCrc) return run
    while (header !== undefined && header.sequence !== until) {
      run.push(header)
      header = await window.next(header)
    }
    return run
  }

  /**
   * The records of a log in their order, from the first of the anchors whose record is there: behind a hole it goes on
   * with those that lead up to the next anchor. Whoever goes through them sees holes by what does not continue.
   */
  async *walk(anchors: readonly Named[], window: RecordWindow, metadata: LogMetadata): AsyncGenerator<RecordHeader> {
    let reached: number | undefined
    let last: RecordHeader | undefined
    let ahead = 0
    /** Whether a later record that is named begins within this one: then the log went on there, and a crash gave this back. */
    const isWrittenOver = async (record: RecordHeader) => {
      const end = record.position + record.cells
      while ((anchors[ahead]?.position ?? end) <= record.position) ahead++
      for (let at = ahead; (anchors[at]?.position ?? end) < end; at++) {
        const within = anchors[at] as Named
        const isThere = (await window.header(within.position))?.headerCrc === within.headerCrc
        if (isThere && compareOrder(within, record) > 0) return true
      }
      return false
    }
    for (const anchor of anchors) {
      const { position, headerCrc } = anchor
      reached ??= position
      // An earlier one than what the log has reached there was written over, and a crash gave it back.
      if (position < reached || (last !== undefined && compareOrder(anchor, last) < 0)) continue
      const record = await window.header(position)
      if (record?.headerCrc !== headerCrc) continue
      if (position > reached && position >= metadata.reserved - this.geometry.area.cells) {
        for (const before of await this.leadingTo(record, reached, window)) yield before
      }
      for (
        let current: RecordHeader | undefined = record;
        current !== undefined;
        current = await window.next(current)
      ) {
        if (await isWrittenOver(current)) break
        yield current
        last = current
        reached = current.position + current.cells
      }
    }
  }

  /** The records in front of this one, as far back as its chain is whole, and not before `from`. */
  async leadingTo(record: RecordHeader, from: number, window: RecordWindow): Promise<RecordHeader[]> {
    const byEnd = new Map<string, RecordHeader>()
    for (const header of await window.scan(Math.max(from, record.position - mostScannedCells), record.position)) {
      const end = header.position + header.cells
      byEnd.set(`${end}/${header.headerCrc}`, header)
      if (isBridge(header)) byEnd.set(`${end}/to ${header.payloadCrc}`, header)
    }
    const run: RecordHeader[] = []
    for (let next = record; ; ) {
      const before =
        byEnd.get(`${next.position}/${next.previousCrc}`) ?? byEnd.get(`${next.position}/to ${next.headerCrc}`)
      if (before === undefined || !continues(before, next)) return run
      run.unshift(before)
      next = before
    }
  }

  async gather(sequence: bigint, ordered: readonly Anchor[], deadline: Deadline): Promise<Item | undefined> {
    const anchors = ordered.filter(
      (anchor) => anchor.sequence < sequence || (anchor.sequence === sequence && anchor.part === 0),
    )
    // The nearest entry may name what a crash took, where the log then went on another way.
    for (const anchor of anchors.slice(0, mostAnchors)) {
      const window = this.window(deadline)
      const assembler = new Assembler()
      let header = await window.header(anchor.position)
      if (header?.headerCrc !== anchor.headerCrc) continue
      while (header !== undefined && header.sequence <= sequence) {
        const stored = assembler.add(header)
        if (stored?.sequence === sequence) return { stored, window }
        header = await window.next(header)
      }
    }
    // It may lie behind a hole.
    const next = ordered.findLast((anchor) => anchor.sequence > sequence)
    const [previous] = anchors
    if (next === undefined) return undefined
    const window = this.window(deadline)
    const record = await window.header(next.position)
    if (record?.headerCrc !== next.headerCrc) return undefined
    const from = previous?.position ?? next.position - this.geometry.area.cells
    const assembler = new Assembler()
    for (const before of await this.leadingTo(record, Math.max(from, 0), window)) {
      const stored = assembler.add(before)
      if (stored?.sequence === sequence) return { stored, window }
    }
    return undefined
  }
}
