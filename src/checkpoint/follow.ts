/** Following a log: checkpoints as they are written, by one-sided reads at a pace that adapts to the writer's. */
import { unwatchAbort, watchAbort } from '../call/abort-watch.js'
import { holdsProcess } from '../call/hold.js'
import { loggable, printsAs } from '../call/printed.js'
import { pause } from '../call/timer.js'
import type { CallOptions, Cursor } from '../types.js'
import type { Checkpoint } from './checkpoint.js'
import { Deadline } from './deadline.js'
import { isCut, isDelta, leadsPastDamage, type Restorer, type Unrestorable } from './delta/restore.js'
import { cellBytes } from './geometry.js'
import type { LogView, Survey, Tail, Verdict } from './log-view.js'
import { damaged, lapped } from './missing.js'
import { compareOrder, type LogOrder } from './record/order.js'
import { requireAssemblable, type StoredCheckpoint, verifyStored } from './record/stored.js'
import type { RegionReadAccess } from './region-access.js'

/** How far a follower is behind, when it last looked. */
export interface Lag {
  /** Difference of sequence numbers, of which a few may be unused. */
  readonly records: bigint
  /** Of the log between the two, headers included; in overwrite mode the length of the newest checkpoint. */
  readonly bytes: bigint
  /** By the writer's clock: the time between writing what was returned last and writing the newest. */
  readonly ms: number
}

/** What a follower needs of the reader it belongs to. */
export interface FollowSource<T> {
  readonly access: RegionReadAccess
  readonly view: LogView
  start(deadline: Deadline): Promise<LogOrder>
  readonly restorer: Restorer
  verdict(stored: StoredCheckpoint, why: Unrestorable, deadline: Deadline): Promise<Verdict>
  checkpoint(stored: StoredCheckpoint, payload: Uint8Array): Checkpoint<T>
  save(name: string, cursor: Cursor, options?: CallOptions): Promise<void>
}

/** After progress the follower polls without a pause for this long, then with pauses that double up to the longest. */
const eagerMs = 2
const longestPollMs = 25
/** While nothing comes, the directory is read this often: a crash of the unit may have made the log go on elsewhere. */
const surveyEveryMs = 1000
/** While records keep coming, the lag is measured this often. */
const measureEveryMs = 250
/** A log that is torn where it should go on is looked at with pauses in proportion to the reading, up to this. */
const longestTornMs = 1000

export class Follow<T> implements AsyncIterator<Checkpoint<T>, undefined>, AsyncDisposable {
  readonly #source: FollowSource<T>
  readonly #from: 'oldest' | 'latest' | 'cursor'
  readonly #signal: AbortSignal | undefined
  readonly #stop = new AbortController()
  readonly #run: AsyncGenerator<Checkpoint<T>, void>
  #returned = false
  #after: LogOrder = { epoch: 0n, sequence: 0n }
  /** Where the log goes on behind what was returned last, in cells, and when that was written. */
  #afterEnd: number | undefined
  #afterTimeMs: number | undefined
  #newest: StoredCheckpoint | undefined
  #measuredAt = 0
  readonly #onAbort = () => this.#stop.abort(this.#signal?.reason)
  /** The region takes no more calls. */
  readonly #onEnded = { onAbort: () => this.#stop.abort() }

  /** @internal Use `reader.follow()`. */
  constructor(source: FollowSource<T>, from: 'oldest' | 'latest' | 'cursor', signal: AbortSignal | undefined) {
    this.#source = source
    this.#from = from
    this.#signal = signal
    this.#run = this.#checkpoints()
    signal?.addEventListener('abort', this.#onAbort)
    if (signal?.aborted) this.#onAbort()
    const { ended } = source.access
    if (ended?.aborted) this.#stop.abort()
    else if (ended !== undefined) watchAbort(ended, this.#onEnded)
  }

  /** The place behind the checkpoint that was returned last; before the first, where it was to begin. */
  get cursor(): Cursor {
    return loggable({ region: this.#source.access.id, ...this.#after })
  }

  get lag(): Lag {
    const newest = this.#newest
    if (newest === undefined || compareOrder(newest, this.#after) <= 0)
      return loggable({ records: 0n, bytes: 0n, ms: 0 })
    const records = newest.sequence - this.#after.sequence
    const first = newest.parts[0]
    const end = newest.last.position + newest.last.cells
    const begin = this.#source.access.mode === 'append' ? (this.#afterEnd ?? first.position) : first.position
    return loggable({
      records: records > 0n ? records : 1n,
      bytes: BigInt(Math.max(end - begin, 0) * cellBytes),
      ms: Math.max(0, first.timeMs - (this.#afterTimeMs ?? first.timeMs)),
    })
  }

  /**
   * Keeps the cursor in the region, for `follow({ from: name })` and `unread(name)` after a restart.
   * @throws CheckpointError `CURSOR_INVALID`, `LIMIT_REACHED`
   */
  async save(name: string, options?: CallOptions): Promise<void> {
    await this.#source.save(name, this.cursor, options)
  }

  async next(): Promise<IteratorResult<Checkpoint<T>, undefined>> {
    try {
      const result = await this.#run.next()
      if (this.#returned || result.done === true) return { done: true, value: undefined }
      return result
    } catch (error) {
      const returned = this.#returned
      this.#end()
      if (returned) return { done: true, value: undefined }
      const { ended } = this.#source.access
      throw ended?.aborted && !this.#signal?.aborted ? ended.reason : error
    }
  }

  /** Ends the iteration, also one that is waiting. */
  async return(): Promise<IteratorResult<Checkpoint<T>, undefined>> {
    this.#end()
    await this.#run.return().catch(() => undefined)
    return { done: true, value: undefined }
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return()
  }

  #end(): void {
    this.#returned = true
    this.#signal?.removeEventListener('abort', this.#onAbort)
    const { ended } = this.#source.access
    if (ended !== undefined) unwatchAbort(ended, this.#onEnded)
    this.#stop.abort()
  }

  async *#checkpoints(): AsyncGenerator<Checkpoint<T>, void> {
    const { view, access, restorer } = this.#source
    const deadline = new Deadline({ signal: this.#stop.signal })
    if (this.#from === 'cursor') this.#after = await this.#source.start(deadline)
    const begun = this.#after
    let began = false
    const pace = new Pace(this.#stop.signal)
    for (;;) {
      deadline.restart()
      pace.begin()
      const newestOnly = !began && this.#from === 'latest'
      const fromOldest = !began && this.#from === 'oldest'
      let kept: { stored: StoredCheckpoint; payload: Uint8Array } | undefined
      // What was read of the unit before its restart may be gone with it: that is not given out any more.
      const { unitStart } = access
      const survey = await view.survey(deadline, {
        newestOnly: newestOnly || access.mode === 'overwrite',
        accept: async (stored, window) => {
          // It was whole when it was returned, or when what follows it was.
          if (compareOrder(stored, this.#after) <= 0) return true
          requireAssemblable(stored)
          // What lies between has to be restored first; if it cannot be, the iteration finds out.
          if (isDelta(stored) && !newestOnly) return verifyStored(stored, window)
          const payload = await restorer.bytes(stored, window, deadline)
          if (!(payload instanceof Uint8Array)) return false
          kept = { stored, payload }
          return true
        },
      })
      this.#measure(survey.newest)
      const unseen = survey.damaged !== undefined && survey.damaged.to > this.#after.sequence
      if (newestOnly) {
        const { newest, header } = survey
        if (survey.damaged !== undefined) throw damaged(survey.damaged, { region: access.id, newest })
        if (
          newest !== undefined &&
          newest.sequence >= header.firstSequence &&
          kept !== undefined &&
          access.unitStart === unitStart
        ) {
          yield this.#take(kept.stored, kept.payload)
          pace.progress()
        }
      } else if (unseen || (survey.newest !== undefined && compareOrder(survey.newest, this.#after) > 0)) {
        this.#requireUnbroken(survey)
        let before: StoredCheckpoint | undefined
        // As unread() does.
        const passesOver = async () =>
          (fromOldest || (await leadsPastDamage(view, survey, begun, deadline))) &&
          (before === undefined || (await view.isThere(before.last, deadline)))
        for await (const item of view.checkpoints(survey, this.#after, deadline, false)) {
          deadline.restart()
          if ('gap' in item) {
            if (item.gap === 'damaged') {
              throw damaged({ from: item.sequence, to: item.to }, { region: access.id, epoch: item.epoch })
            }
            if (item.gap === 'lapped' && !(await passesOver())) {
              throw lapped(item.sequence, await view.survey(deadline))
            }
            continue
          }
          const { stored, window } = item
          if (fromOldest && before === undefined && isCut(stored, survey)) continue
          requireAssemblable(stored)
          const payload =
            kept?.stored.last.headerCrc === stored.last.headerCrc
              ? kept.payload
              : await restorer.bytes(stored, window, deadline)
          if (!(payload instanceof Uint8Array)) {
            const verdict = await this.#source.verdict(stored, payload, deadline)
            if (verdict === 'damaged') {
              const { epoch, sequence } = stored
              throw damaged({ from: sequence, to: sequence }, { region: access.id, epoch })
            }
            if (verdict === 'lapped' && !(await passesOver())) {
              throw lapped(stored.sequence, await view.survey(deadline))
            }
            continue
          }
          if (access.unitStart !== unitStart) break
          yield this.#take(stored, payload)
          before = stored
          pace.progress()
        }
      }
      const restarted = access.unitStart !== unitStart
      // Of what there was, all may have gone while it was read.
      began ||= this.#after.sequence > 0n || (!restarted && (this.#from !== 'oldest' || survey.newest === undefined))
      kept = undefined
      if (restarted) continue
      await pace.rest()
      yield* this.#wait(view.tail(survey), deadline, pace)
    }
  }

  /** Until the log has to be surveyed again. */
  async *#wait(tail: Tail, deadline: Deadline, pace: Pace): AsyncGenerator<Checkpoint<T>, void> {
    const { view, access, restorer } = this.#source
    let surveyAt = performance.now() + surveyEveryMs
    for (;;) {
      deadline.restart()
      pace.begin()
      const { unitStart } = access
      const item = await tail.poll(deadline)
      if (item === 'moved') return
      if (item !== undefined) {
        const { stored, window } = item
        if (compareOrder(stored, this.#after) <= 0 || stored.sequence < tail.header.firstSequence) {
          tail.advance(stored)
          continue
        }
        requireAssemblable(stored)
        const payload = await restorer.bytes(stored, window, deadline)
        if (payload instanceof Uint8Array) {
          tail.advance(stored)
          if (performance.now() - this.#measuredAt > measureEveryMs) {
            const { newest } = await view.survey(deadline, { newestOnly: true, accept: async () => true })
            this.#measure(newest)
          }
          if (access.unitStart !== unitStart) return
          yield this.#take(stored, payload)
          pace.progress()
          surveyAt = performance.now() + surveyEveryMs
          continue
        }
        pace.torn()
        // That does not mend itself: a survey tells why.
        if (payload.why !== 'torn') {
          await pace.rest()
          return
        }
      }
      if (performance.now() > surveyAt) return
      await pace.rest()
    }
  }

  #take(stored: StoredCheckpoint, payload: Uint8Array): Checkpoint<T> {
    const checkpoint = this.#source.checkpoint(stored, payload)
    const { epoch, sequence, last } = stored
    this.#after = { epoch, sequence }
    this.#afterEnd = last.position + last.cells
    this.#afterTimeMs = stored.parts[0].timeMs
    if (this.#newest === undefined || compareOrder(stored, this.#newest) > 0) this.#newest = stored
    return checkpoint
  }

  #measure(newest: StoredCheckpoint | undefined): void {
    this.#newest = newest
    this.#measuredAt = performance.now()
  }

  /** @throws CheckpointError `CHECKPOINT_LAPPED` when something behind the cursor may have been dropped unseen */
  #requireUnbroken(survey: Survey): void {
    const { newest, header, droppedThrough, oldest } = survey
    const after = this.#after
    if (this.#source.access.mode !== 'append' || newest === undefined || after.epoch + after.sequence === 0n) return
    if (newest.sequence < header.firstSequence || droppedThrough < header.firstSequence) return
    // Of a later owner that went on below: a crash had taken what was returned, and numbers were given again.
    const reused = oldest !== undefined && oldest.epoch > after.epoch && droppedThrough < after.sequence
    if (droppedThrough > after.sequence || (reused && droppedThrough > 0n)) throw lapped(after.sequence + 1n, survey)
  }
}

printsAs(Follow, ({ cursor, lag }) => ({ cursor, lag }))
holdsProcess(Follow)

/** When to look again. */
class Pace {
  readonly #signal: AbortSignal
  #progressAt = performance.now()
  #pauseMs = 0
  #began = 0
  #tornFor = 0

  constructor(signal: AbortSignal) {
    this.#signal = signal
  }

  /** A look begins. */
  begin(): void {
    this.#began = performance.now()
  }

  progress(): void {
    this.#progressAt = performance.now()
    this.#pauseMs = 0
    this.#tornFor = 0
  }

  /** A payload was read for nothing: the larger it is, and the more often, the longer until the next look. */
  torn(): void {
    this.#tornFor = Math.min(longestTornMs, 2 * this.#tornFor + performance.now() - this.#began)
  }

  async rest(): Promise<void> {
    if (performance.now() - this.#progressAt < eagerMs && this.#tornFor < 1) {
      await new Promise((resolve) => setImmediate(resolve))
      return
    }
    this.#pauseMs = Math.min(Math.max(2 * this.#pauseMs, 1), longestPollMs)
    await pause(Math.max(this.#pauseMs, this.#tornFor), this.#signal)
  }
}
