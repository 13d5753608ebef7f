/**
 * What an owner does when a write failed, or the unit came back without some: it waits until nothing is in flight, looks for the
 * end of the log, and decides what became of each record that was on its way.
 *
 * The order of appends is kept. What was in flight when another write failed is in the log after all, or is written again; it is
 * given up only when something later is in the log already.
 */
import { CheckpointError } from '../../errors.js'
import { withOutcome } from '../../outcome.js'
import { Deadline } from '../deadline.js'
import type { LogView } from '../log-view.js'
import { recordKind } from '../record/header.js'
import type { Changes } from './changes.js'
import type { DeltaJobs } from './delta-jobs.js'
import type { Flight, Flights } from './flights.js'
import type { JobQueue } from './job-queue.js'
import type { RecordJob } from './jobs.js'
import type { LogEnd } from './log-end.js'

export class Recovery {
  readonly #view: LogView
  readonly #end: LogEnd
  readonly #flights: Flights
  readonly #queue: JobQueue
  readonly #deltas: DeltaJobs
  readonly #changes: Changes
  #suspects: readonly Flight[] = []

  constructor(view: LogView, end: LogEnd, flights: Flights, queue: JobQueue, deltas: DeltaJobs, changes: Changes) {
    this.#view = view
    this.#end = end
    this.#flights = flights
    this.#queue = queue
    this.#deltas = deltas
    this.#changes = changes
  }

  /** What was in flight when a write failed, while it is found out what became of it. */
  get suspects(): readonly Flight[] {
    return this.#suspects
  }

  async run(): Promise<void> {
    const end = this.#end
    while (!this.#flights.allDone) await this.#changes.next()
    const suspects = this.#flights.takeAll()
    end.lose()
    end.recoveries++
    for (const { error, answer } of suspects) if (error !== undefined) answer.reject(withOutcome(error, 'unknown'))
    this.#suspects = suspects
    try {
      await end.load()
      // The unit may go again meanwhile.
      while (!(await this.#sort(suspects))) await end.load()
      await this.#deltas.confirmBases(this.#queue)
    } catch (error) {
      end.lose()
      for (const { answer, staging, error: failed } of suspects) {
        answer.reject(withOutcome(error, 'unknown'))
        if (failed === undefined) staging.release()
      }
      this.#queue.rejectAll(error)
    } finally {
      this.#suspects = []
    }
    this.#changes.wake()
  }

  /** False when the unit went meanwhile: then the end has to be looked for once more. */
  async #sort(suspects: readonly Flight[]): Promise<boolean> {
    const open = suspects.filter(({ ends, error }) => ends && error === undefined)
    const there = new Set<Flight>()
    for (const flight of open) {
      const item = await this.#view.find(flight.header.sequence, new Deadline())
      if (item?.stored.last.headerCrc !== flight.header.headerCrc) continue
      if (flight.header.kind !== recordKind.delta) there.add(flight)
      else if (await this.#view.isWhole(item.stored, item.window, new Deadline())) there.add(flight)
    }
    if ([...there].some(({ answer }) => answer.durability === 'durable')) await this.#end.flush()
    if (this.#end.rolledBack) return false
    const again: RecordJob[] = []
    for (const [index, flight] of open.entries()) {
      const { answer, job, ack, header } = flight
      if (there.has(flight) && ack !== undefined) {
        this.#flights.tell(flight, ack)
      } else if (job !== undefined && !open.slice(index).some((later) => there.has(later))) {
        again.push(job)
      } else {
        answer.reject(
          new CheckpointError('WRITES_LOST', `Checkpoint ${header.sequence} was lost when an earlier write failed.`, {
            retryable: true,
            cause: suspects.find(({ error }) => error !== undefined)?.error,
          }),
        )
      }
    }
    const kept = new Set(again.map(({ staging }) => staging))
    // What was given up may still be sent from where it lies: that memory is not used again.
    for (const { staging, error } of suspects) if (error === undefined && !kept.has(staging)) staging.release()
    for (const job of again) job.answer.sent = false
    this.#queue.putBack(again)
    return true
  }
}
