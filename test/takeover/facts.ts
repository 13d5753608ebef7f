/** A history in the order in which the rules of the checker look at it. */
import type {
  Followed,
  Found,
  History,
  HistoryEvent,
  Lapped,
  Latest,
  Owned,
  Read,
  Restored,
  Snapshot,
} from './history.js'

/** An append with what became of it. */
export interface Append {
  by: string
  number: number
  epoch: number
  /** When it was called. */
  at: number
  bytes: number
  hash: string
  acknowledgedAt?: number
  durable?: boolean
  found?: Found
  outcome?: 'none' | 'unknown' | 'done'
  failedAt?: number
}
export type AcknowledgedAppend = Append & Required<Pick<Append, 'acknowledgedAt' | 'durable' | 'found'>>

/** Somebody was given a checkpoint. */
export interface Sighting {
  found: Found
  /** It was read between the two. */
  began: number
  at: number
  where: string
}

export interface Look {
  began: number
  at: number
  newest: Found | undefined
}

/** One that was answered without an error. */
export interface HandOver {
  by: string
  epoch: number
  began: number
  at: number
}

/** A record takes no more beyond its payload: a header, and what fills its last cell. */
const overheadBytes = 256
/** What an iteration gives was read a while ago. */
const readAheadUs = 5_000_000

type Of<T extends HistoryEvent['type']> = Extract<HistoryEvent, { type: T }>

export class Facts {
  readonly keptBytes: number
  readonly owners = new Map<number, Owned[]>()
  /** In the order of their calls. */
  readonly appends: Append[]
  /** Those that are there for good: see `#isFirm`. */
  readonly acknowledged: AcknowledgedAppend[]
  readonly byHash = new Map<string, Append>()
  /** In the order in which they began. */
  readonly reads: Read[]
  /** Every look at the newest checkpoint, those of whole readings among them, in the order in which they began. */
  readonly looks: Look[]
  readonly snapshots: Snapshot[]
  readonly restorations: Restored[]
  readonly handOvers: HandOver[] = []
  readonly iterations = new Map<string, (Followed | Lapped)[]>()
  readonly sightings: Sighting[] = []
  readonly #kills: number[]
  readonly #owned: { at: number; highest: number }[] = []
  /** Of `appends` and those before each, bytes of the log. */
  readonly #bytesUpTo: number[] = []
  readonly #settled: Found[]
  readonly #settledHashes: ReadonlySet<string>

  constructor({ events, keptBytes }: History) {
    const sorted = [...events].sort((a, b) => a.at - b.at)
    const all = <T extends HistoryEvent['type']>(type: T) =>
      sorted.filter((event): event is Of<T> => event.type === type)
    this.keptBytes = keptBytes
    this.#kills = all('unit-killed').map(({ at }) => at)
    let highest = 0
    for (const owned of all('owned')) {
      push(this.owners, owned.epoch, owned)
      highest = Math.max(highest, owned.epoch)
      this.#owned.push({ at: owned.at, highest })
    }
    this.appends = all('invoked').map(({ by, number, epoch, at, bytes, hash }) => ({
      by,
      number,
      epoch,
      at,
      bytes,
      hash,
    }))
    this.acknowledged = this.#settle(all('acknowledged'), all('failed'))
    let bytes = 0
    for (const append of this.appends) {
      bytes += append.bytes + overheadBytes
      this.#bytesUpTo.push(bytes)
      this.byHash.set(append.hash, append)
    }
    this.snapshots = all('snapshot')
    this.restorations = all('restored')
    const begun = all('hand-over')
    for (const { by, epoch, at, code } of all('handed-over')) {
      const call = begun.find((other) => other.by === by && other.epoch === epoch)
      if (call !== undefined && code === null) this.handOvers.push({ by, epoch, began: call.at, at })
    }
    this.reads = all('read').sort((a, b) => a.began - b.began)
    this.looks = [
      ...this.reads.map(({ began, at, records }) => ({ began, at, newest: records.at(-1) })),
      ...all('latest').map(({ began, at, found }) => ({ began, at, newest: found ?? undefined })),
    ].sort((a, b) => a.began - b.began)
    for (const event of sorted) {
      if (event.type === 'followed' || event.type === 'lapped') push(this.iterations, event.iteration, event)
    }
    this.#sight(all('followed'), all('latest'))
    this.#settled = this.#settledRecords().sort((a, b) => a.epoch - b.epoch || a.sequence - b.sequence)
    this.#settledHashes = new Set(this.#settled.map(({ hash }) => hash))
  }

  #settle(answers: Of<'acknowledged'>[], failures: Of<'failed'>[]): AcknowledgedAppend[] {
    const byName = new Map(this.appends.map((append) => [`${append.by}/${append.number}`, append]))
    for (const { by, number, at, sequence, durability } of answers) {
      const append = byName.get(`${by}/${number}`)
      if (append === undefined) throw new Error(`append ${number} of ${by} was acknowledged, and never called`)
      append.acknowledgedAt = at
      append.durable = durability === 'durable'
      append.found = { epoch: append.epoch, sequence, hash: append.hash }
    }
    for (const { at, by, number, outcome } of failures) {
      const append = byName.get(`${by}/${number}`)
      if (append !== undefined) Object.assign(append, { outcome, failedAt: at })
    }
    const all = this.appends.filter((append): append is AcknowledgedAppend => append.acknowledgedAt !== undefined)
    if (this.#kills.length === 0) return all
    const durable = all.filter((append) => append.durable).sort((a, b) => a.found.sequence - b.found.sequence)
    return all.filter((append) => this.#isFirm(append, durable))
  }

  /**
   * A crash of the unit takes what is no more than visible, but for what was before a durable append, or before a takeover,
   * that was answered in the same life of the unit.
   */
  #isFirm(append: AcknowledgedAppend, durable: readonly AcknowledgedAppend[]): boolean {
    if (append.durable) return true
    const death = this.#kills[firstFrom(this.#kills, (at) => at > append.at)] ?? Number.POSITIVE_INFINITY
    if (death === Number.POSITIVE_INFINITY) return true
    const above = firstFrom(this.#owned, ({ highest }) => highest > append.epoch)
    if ((this.#owned[above]?.at ?? death) < death) return true
    return durable
      .slice(firstFrom(durable, ({ found }) => found.sequence > append.found.sequence))
      .some((later) => later.epoch === append.epoch && later.acknowledgedAt < death)
  }

  #sight(followed: Followed[], latest: Latest[]): void {
    // What an iteration gives it may have read as soon as it had given what was before; it is told of when it is given.
    const given = new Map<string, number>()
    for (const { epoch, sequence, hash, at, iteration } of followed) {
      const began = given.get(iteration) ?? at
      this.sightings.push({ found: { epoch, sequence, hash }, began, at, where: `followed by ${iteration}` })
      given.set(iteration, at)
    }
    for (const { found, at, epoch } of this.restorations) {
      if (found !== null) this.sightings.push({ found, began: at, at, where: `restored by epoch ${epoch}` })
    }
    for (const { found, began, at } of latest) {
      if (found !== null) this.sightings.push({ found, began, at, where: 'read as the latest' })
    }
    const seen = new Set<string>()
    for (const { records, began, at } of this.reads) {
      for (const found of records) {
        const key = `${found.epoch} ${found.sequence} ${found.hash}`
        if (!seen.has(key)) this.sightings.push({ found, began, at, where: 'read' })
        seen.add(key)
      }
    }
  }

  /** A crash may take what is not durable, and then only what was acknowledged is there for good. */
  #settledRecords(): Found[] {
    const settled = new Map<string, Found>(this.acknowledged.map(({ found }) => [found.hash, found]))
    if (this.#kills.length > 0) return [...settled.values()]
    for (const { records } of this.reads) for (const found of records) settled.set(found.hash, found)
    return [...settled.values()]
  }

  /** The greatest epoch that had been answered by then; 0 for none. */
  highestOwnedBefore(at: number): number {
    return this.#owned[firstFrom(this.#owned, (owned) => owned.at >= at) - 1]?.highest ?? 0
  }

  /** The unit may have died between something that was read then and that moment. */
  readonly killedWithin = (readAt: number, until: number): boolean =>
    this.#kills.some((at) => at > readAt - readAheadUs && at < until)

  readonly diedBetween = (from: number, until: number): boolean => this.#kills.some((at) => at > from && at < until)

  diedBefore(at: number): boolean {
    return this.#kills.some((kill) => kill < at)
  }

  /** What appends behind this one can have taken of the log, up to then. */
  appendedSince(append: Append, until: number): number {
    const from = firstFrom(this.appends, ({ at }) => at > append.at)
    const to = firstFrom(this.appends, ({ at }) => at > until)
    return (this.#bytesUpTo[to - 1] ?? 0) - (this.#bytesUpTo[from - 1] ?? 0)
  }

  /** Whether it is there for good. */
  isSettled(found: Found): boolean {
    return this.#settledHashes.has(found.hash)
  }

  /**
   * A crash of the unit may bring back what the ring had dropped, with holes: what had begun to be overwritten is torn for good
   * (docs/checkpoint-format.md, Durability).
   */
  mayBeTorn(found: Found, at: number): boolean {
    const append = this.byHash.get(found.hash)
    return this.diedBefore(at) && append !== undefined && this.appendedSince(append, at) > this.keptBytes
  }

  /** What is there for good between two checkpoints, both left out. */
  settledBetween(one: Found, other: Found): Found[] {
    const from = firstFrom(this.#settled, (found) => behind(found, one))
    const to = firstFrom(this.#settled, (found) => !behind(other, found))
    return this.#settled.slice(from, to)
  }
}

function behind(one: Found, other: Found): boolean {
  return one.epoch > other.epoch || (one.epoch === other.epoch && one.sequence > other.sequence)
}

/** The index of the first item for which it holds, in a list in which it then holds for all that follow. */
function firstFrom<T>(list: readonly T[], holds: (item: T) => boolean): number {
  let [low, high] = [0, list.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if (holds(list[middle] as T)) high = middle
    else low = middle + 1
  }
  return low
}

function push<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key)
  if (list === undefined) map.set(key, [value])
  else list.push(value)
}
