/** What a writer has not sent yet, in the order of the calls. */
import { withOutcome } from '../../outcome.js'
import type { BarrierJob, Job, RecordJob } from './jobs.js'

export class JobQueue {
  #jobs: Job[] = []

  get length(): number {
    return this.#jobs.length
  }

  get first(): Job | undefined {
    return this.#jobs[0]
  }

  push(job: Job): void {
    this.#jobs.push(job)
  }

  shift(): void {
    this.#jobs.shift()
  }

  /** In front of what waits: jobs that were sent and have to be sent again. */
  putBack(jobs: readonly RecordJob[]): void {
    this.#jobs.unshift(...jobs)
  }

  takeBarriers(): BarrierJob[] {
    const barriers = this.#jobs.filter((job) => job.kind === 'barrier')
    this.#jobs = this.#jobs.filter(({ kind }) => kind !== 'barrier')
    return barriers
  }

  /** Nothing of it was sent. */
  rejectAll(error: unknown): void {
    for (const job of this.#jobs.splice(0)) {
      job.answer.reject(withOutcome(error, 'none'))
      if (job.kind === 'record') job.staging.release()
    }
  }

  /** Of the jobs as they are now. */
  *[Symbol.iterator](): Iterator<Job> {
    yield* this.#jobs.slice()
  }
}
