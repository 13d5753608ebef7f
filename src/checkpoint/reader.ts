/** Reading the checkpoints of a region, by one-sided reads only. */
import { holdsProcess } from '../call/hold.js'
import { takeCall } from '../call/options.js'
import { loggable, printsAs } from '../call/printed.js'
import { take } from '../call/shape.js'
import type { CallOptions, Cursor } from '../types.js'
import { type Checkpoint, type CheckpointInfo, type DamagedCheckpoints, infoOf } from './checkpoint.js'
import { type Codec, codecName, decodeWith, raw } from './codec.js'
import { cursorPlace, cursorWithin, savedPlace } from './cursor.js'
import { Deadline } from './deadline.js'
import { isCut, leadsPastDamage } from './delta/restore.js'
import { Finder, rangeOf } from './finder.js'
import { Follow } from './follow.js'
import { layoutForReading } from './layout.js'
import { type Gap, type LogView, newestKept, type Survey, settledSurvey } from './log-view.js'
import { outrun } from './missing.js'
import {
  cursorName,
  type FollowOptions,
  followOptions,
  type LatestOptions,
  latestOptions,
  type ReaderOptions,
  readerOptions,
} from './options.js'
import { payloadStream } from './payload-stream.js'
import { compareOrder, greater, type LogOrder } from './record/order.js'
import { requireAssemblable, type StoredCheckpoint } from './record/stored.js'
import type { RegionReadAccess } from './region-access.js'

const mostAttempts = 10

/**
 * Reads what a log holds. Every checkpoint returned is whole: each record's checksum was verified. All methods take a
 * signal and a timeout (30 s unless given) and reject with `ABORTED` or `TIMEOUT`, with `CONNECTION_LOST` when the unit
 * cannot be reached in that time, with `NOT_SUPPORTED` for a log of a later format, and with `CODEC_MISMATCH` for
 * checkpoints of another codec.
 */
export class CheckpointReader<T> {
  readonly #access: RegionReadAccess
  readonly #view: LogView
  readonly #finder: Finder
  readonly #codec: Codec<T>

  /** @internal Use `region.checkpoints()` or `region.log()`. */
  constructor(access: RegionReadAccess, codec: Codec<T>) {
    this.#access = access
    this.#codec = codec
    this.#view = layoutForReading(access)
    this.#finder = new Finder(access, this.#view)
  }

  /** @internal */
  protected get access(): RegionReadAccess {
    return this.#access
  }

  /** @internal */
  protected get view(): LogView {
    return this.#view
  }

  /** @internal */
  protected get codec(): Codec<T> {
    return this.#codec
  }

  /** What it shows of itself where it is printed. @internal */
  facts(): object {
    const { name, id, mode } = this.#access
    return { region: name, id, mode, codec: codecName(this.#codec.id) }
  }

  /**
   * The newest checkpoint; undefined when the log is empty or cleared. Of a log that a crash has cut short it is the newest
   * that is whole.
   * @throws CheckpointError `CHECKPOINT_DAMAGED` when a newer one was durable and is damaged (details `from`, `to`, `cursor`, and
   * `newest`, the whole one before it, which `beforeDamage` gives)
   */
  async latest(options: LatestOptions = {}): Promise<Checkpoint<T> | undefined> {
    const { beforeDamage = false, ...call } = take(latestOptions, options)
    const deadline = new Deadline(call)
    let whole: { stored: StoredCheckpoint; payload: Uint8Array } | undefined
    const survey = await settledSurvey(this.view, deadline, {
      newestOnly: true,
      accept: async (stored, window) => {
        requireAssemblable(stored)
        const restored = await this.#finder.restorer().bytes(stored, window, deadline)
        if (!(restored instanceof Uint8Array)) return false
        whole = { stored, payload: restored }
        return true
      },
    })
    const newest = newestKept(survey)
    const { damaged, missing } = survey
    if (damaged !== undefined && (newest === undefined || !beforeDamage)) throw this.#finder.damagedEnd(survey)
    if (newest === undefined || whole === undefined) return undefined
    const checkpoint = this.#checkpoint(whole.stored, whole.payload)
    return loggable({
      ...checkpoint,
      ...(damaged === undefined ? {} : { damaged: loggable(damaged) }),
      ...(missing === undefined ? {} : { missing: loggable(missing) }),
    })
  }

  /**
   * The newest checkpoint without its value. Undefined when the log is empty or cleared.
   * @throws CheckpointError `CHECKPOINT_DAMAGED` as of {@link latest}
   */
  async newest(options?: CallOptions): Promise<CheckpointInfo | undefined> {
    const survey = await settledSurvey(this.view, new Deadline(options), { newestOnly: true })
    if (survey.damaged !== undefined) throw this.#finder.damagedEnd(survey)
    const newest = newestKept(survey)
    return newest === undefined ? undefined : infoOf(newest, this.access.id)
  }

  /**
   * The checkpoint of that number.
   * @throws CheckpointError `CHECKPOINT_LAPPED` when the log has dropped it, `CHECKPOINT_NOT_FOUND` when it was cleared,
   * never written or lost before it was durable (both with details `oldest` and `newest`), `CHECKPOINT_DAMAGED`
   */
  async at(sequence: bigint, options?: CallOptions): Promise<Checkpoint<T>> {
    const deadline = new Deadline(options)
    const { stored, window } = await this.#finder.find(sequence, deadline)
    requireAssemblable(stored)
    const payload = await this.#finder.restorer().bytes(stored, window, deadline)
    if (!(payload instanceof Uint8Array)) throw await this.#finder.missing(stored, payload, deadline)
    return this.#checkpoint(stored, payload)
  }

  /**
   * Everything that is kept, oldest first, in one batch of reads. At most 2 GiB (`LIMIT_REACHED`); beyond that,
   * `unread()` goes through them one by one.
   * What the writer goes past meanwhile is left out; the newest that there was is always among them.
   * @throws CheckpointError `CHECKPOINT_DAMAGED` when a record that was durable fails its checksum; `CHECKPOINT_LAPPED`
   * (retryable) when the writer goes round the ring faster than it is read, over and over
   */
  async all(options?: CallOptions): Promise<Checkpoint<T>[]> {
    const deadline = new Deadline(options)
    return this.#throughNewest(deadline, (survey) => this.#all(survey, deadline))
  }

  async #all(survey: Survey, deadline: Deadline): Promise<Checkpoint<T>[]> {
    const restorer = this.#finder.restorer(true)
    let kept: { stored: StoredCheckpoint; checkpoint: Checkpoint<T> }[] = []
    // What lies before a record that is being overwritten is going, too.
    const dropThrough = async (gone: bigint) => {
      const before = kept.findLast(({ stored }) => stored.sequence <= gone)
      if (await this.#isPassed(before?.stored, deadline)) kept = kept.filter(({ stored }) => stored.sequence > gone)
    }
    for await (const item of this.view.checkpoints(survey, undefined, deadline, true)) {
      if ('gap' in item) {
        if (item.gap === 'damaged') throw this.#finder.damaged({ from: item.sequence, to: item.to }, item)
        if (item.gap === 'lapped') await dropThrough(item.sequence)
        continue
      }
      const { stored, window } = item
      requireAssemblable(stored)
      if (isCut(stored, survey)) continue
      const payload = await restorer.bytes(stored, window, deadline)
      if (payload instanceof Uint8Array) {
        kept.push({ stored, checkpoint: this.#checkpoint(stored, payload) })
        continue
      }
      const verdict = await this.#finder.verdict(stored, payload, deadline)
      if (verdict === 'damaged') throw this.#finder.damaged(rangeOf(stored), stored)
      // Of a delta it is the base that went, with what lies before it; what lies between is kept.
      if (verdict === 'lapped') await dropThrough(payload.why === 'base' ? payload.missing : stored.sequence)
    }
    return kept.map(({ checkpoint }) => checkpoint)
  }

  /**
   * Whether a writer that came round has overwritten what was read in front of something that is gone. If not, a crash left a
   * hole: it took a writer that had come round to there, or what was not durable yet.
   */
  async #isPassed(before: StoredCheckpoint | undefined, deadline: Deadline): Promise<boolean> {
    return before === undefined || !(await this.view.isThere(before.last, deadline))
  }

  /**
   * What is kept, oldest first, without the values. Their payloads are not verified. In the place of checkpoints that were
   * durable and of which the headers are damaged there is one entry with `damaged: true`.
   * @throws CheckpointError `CHECKPOINT_LAPPED`, as of {@link all}
   */
  async list(options?: CallOptions): Promise<(CheckpointInfo | DamagedCheckpoints)[]> {
    const deadline = new Deadline(options)
    const kept = await this.#throughNewest(deadline, (survey) => this.#list(survey, deadline))
    const region = this.access.id
    return kept.map((item) => {
      if (!('gap' in item)) return infoOf(item, region)
      const { epoch, sequence, to } = item
      const cursor = loggable({ region, epoch, sequence: to })
      return loggable({ damaged: true as const, sequence, through: to, cursor })
    })
  }

  async #list(survey: Survey, deadline: Deadline): Promise<(StoredCheckpoint | Gap)[]> {
    let kept: (StoredCheckpoint | Gap)[] = []
    const lastStored = () => kept.findLast((item): item is StoredCheckpoint => !('gap' in item))
    for await (const item of this.view.checkpoints(survey, undefined, deadline, false)) {
      if (!('gap' in item)) {
        if (!isCut(item.stored, survey)) kept.push(item.stored)
      } else if (item.gap === 'damaged') kept.push(item)
      else if (item.gap === 'lapped' && (await this.#isPassed(lastStored(), deadline))) kept = []
    }
    return kept
  }

  /**
   * The checkpoints behind a cursor, or behind the saved cursor of that name, oldest first, up to the newest when the
   * iteration begins. What the owner cleared or lost before it was durable is left out. In overwrite mode it is the
   * newest, if that is behind the cursor. A cursor with epoch 0 and sequence 0 begins at the oldest kept. The timeout holds for the whole iteration.
   * @throws CheckpointError `CURSOR_INVALID`; `CHECKPOINT_LAPPED` (details `oldest`, `newest`) when the log has dropped
   * something behind the cursor: restart from the oldest; `CHECKPOINT_DAMAGED`
   */
  async *unread(since: Cursor | string, options?: CallOptions): AsyncGenerator<Checkpoint<T>, void, undefined> {
    const deadline = new Deadline(options)
    const after =
      typeof since === 'string' ? await savedPlace(this.access, since, deadline) : cursorPlace(this.access, since)
    const survey = await settledSurvey(this.view, deadline)
    const { droppedThrough, header } = survey
    const newest = newestKept(survey)
    if (newest === undefined) {
      const { damaged: range } = survey
      if (range !== undefined && range.to > after.sequence) throw this.#finder.damagedEnd(survey)
      return
    }
    const dropped = droppedThrough > after.sequence && droppedThrough >= header.firstSequence
    if (dropped && this.access.mode === 'append' && after.sequence + after.epoch > 0n) {
      throw await this.#finder.lapped(after.sequence + 1n, deadline)
    }
    const restorer = this.#finder.restorer(true)
    const fromOldest = after.epoch + after.sequence === 0n
    let before: StoredCheckpoint | undefined
    // From the oldest on there is nobody who missed anything: a hole is passed over, and so is what goes while it is looked at.
    // So it is for who goes on behind damage: from the oldest on he would meet that again.
    const passesOver = async () =>
      (fromOldest || (await leadsPastDamage(this.view, survey, after, deadline))) &&
      (before === undefined || !(await this.#isPassed(before, deadline)))
    for await (const item of this.view.checkpoints(survey, after, deadline, false)) {
      if ('gap' in item) {
        if (item.gap === 'damaged') throw this.#finder.damaged({ from: item.sequence, to: item.to }, item)
        if (item.gap === 'lapped' && !(await passesOver())) throw await this.#finder.lapped(item.sequence, deadline)
        continue
      }
      const { stored, window } = item
      requireAssemblable(stored)
      if (fromOldest && before === undefined && isCut(stored, survey)) continue
      const payload = await restorer.bytes(stored, window, deadline)
      if (payload instanceof Uint8Array) {
        yield this.#checkpoint(stored, payload)
        before = stored
        continue
      }
      const verdict = await this.#finder.verdict(stored, payload, deadline)
      if (verdict === 'damaged') throw this.#finder.damaged(rangeOf(stored), stored)
      if (verdict === 'lapped' && !(await passesOver())) throw await this.#finder.lapped(stored.sequence, deadline)
    }
    // All of it went while it was read.
    if (fromOldest && before === undefined) throw await this.#finder.lapped(newest.sequence, deadline)
  }

  /**
   * Checkpoints as they are written, by reads of the region only: the unit's CPU and its control plane are not asked. Each
   * comes once and in order; cleared ones are left out; in overwrite mode it is the newest each time. While nothing comes,
   * one small batch of reads looks for the next, at first without a pause and then every 25 ms, and the directory is read
   * once a second. It ends by `return()` (leaving a `for await` does that), by disposal, by the signal with `ABORTED`, or
   * by an error:
   * @throws CheckpointError `CHECKPOINT_LAPPED` (details `oldest`, `newest`) when the writer has gone round the ring past
   * the cursor: follow again from `oldest`; `CURSOR_INVALID`, `CHECKPOINT_DAMAGED`, `CONNECTION_LOST`, `CODEC_MISMATCH`
   */
  follow(options: FollowOptions = {}): Follow<T> {
    const { from = 'latest', signal } = take(followOptions, options)
    const word = from === 'oldest' || from === 'latest'
    const cursor = typeof from === 'string' ? undefined : cursorPlace(this.access, from)
    return new Follow(
      {
        access: this.access,
        view: this.view,
        start: async (deadline) => cursor ?? savedPlace(this.access, from as string, deadline),
        restorer: this.#finder.restorer(true),
        verdict: (stored, why, deadline) => this.#finder.verdict(stored, why, deadline),
        checkpoint: (stored, payload) => this.#checkpoint(stored, payload),
        save: (name, at, call) => this.saveCursor(name, at, call),
      },
      word ? from : 'cursor',
      signal,
    )
  }

  /**
   * The bytes of a checkpoint of any size and codec, each part verified before it is handed out. Errors as of
   * {@link at}, through the stream; a stream that ends without an error was whole. The timeout holds for each read.
   */
  stream(sequence: bigint, options?: CallOptions): ReadableStream<Uint8Array> {
    return payloadStream(this.#finder, sequence, options)
  }

  /**
   * Keeps a cursor in the region under a name, for `unread(name)` after a restart and for the
   * policies that honour it.
   * @throws CheckpointError `CURSOR_INVALID`, `LIMIT_REACHED`
   */
  async saveCursor(name: string, at: Cursor | { readonly cursor: Cursor }, options?: CallOptions): Promise<void> {
    const call = takeCall(options)
    const { epoch, sequence } = cursorPlace(this.access, cursorWithin(at))
    await this.access.saveCursor({ name: cursorName(name), epoch, sequence }, call)
  }

  /**
   * A sequence number up to which the log is known to be durable, by what its records and its metadata say: a lower bound. 0 on a
   * pool that keeps nothing durable.
   */
  async durableSequence(options?: CallOptions): Promise<bigint> {
    const { newest, witnesses } = await this.view.survey(new Deadline(options), { newestOnly: true })
    const known = witnesses.map(({ durableSequence }) => durableSequence)
    return known.reduce(greater, newest?.last.durableSequence ?? 0n)
  }

  #checkpoint(stored: StoredCheckpoint, payload: Uint8Array): Checkpoint<T> {
    const { codec, storedBytes: _stored, baseSequence: _base, damaged: _, ...info } = infoOf(stored, this.access.id)
    const at = `Checkpoint ${stored.sequence} of region ${JSON.stringify(this.access.name)}`
    return loggable({ ...info, value: decodeWith(this.codec, codec, payload, info.schema, at) })
  }

  /** Again, if the newest is gone before it is read: without it what was found might be nothing, and look like an empty log. */
  async #throughNewest<I extends LogOrder>(deadline: Deadline, gather: (survey: Survey) => Promise<I[]>): Promise<I[]> {
    for (let attempt = 0; attempt < mostAttempts; attempt++) {
      const survey = await settledSurvey(this.view, deadline)
      const newest = newestKept(survey)
      const found = newest === undefined && survey.damaged === undefined ? [] : await gather(survey)
      if (newest === undefined) return found
      const last = found.findLast((item) => !('gap' in item))
      if (last !== undefined && compareOrder(last, newest) === 0) return found
    }
    throw outrun()
  }
}

printsAs(CheckpointReader, (reader) => reader.facts())
holdsProcess(CheckpointReader)

/** A reader over a region's access; `codec` as given to the log. */
export function openReader<T = Uint8Array>(
  access: RegionReadAccess,
  options: ReaderOptions<T> = {},
): CheckpointReader<T> {
  const { codec = raw } = take(readerOptions, options)
  return new CheckpointReader(access, codec as Codec<T>)
}
