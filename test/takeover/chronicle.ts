/** The history of a season as it grows: one file for each process, what has been read of them, and what the checker says. */
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { check } from './checker.js'
import { type Found, type HistoryEvent, HistoryFile } from './history.js'
import type { StormReport } from './storm-report.js'
import { now } from './support/recorder.mjs'

/** Violations of one rule: one mistake shows in many. */
const mostTold = 5

export class Chronicle {
  readonly #folder: string
  readonly #keptBytes: number
  readonly #files: HistoryFile[] = []
  readonly #events: HistoryEvent[] = []
  #later: HistoryEvent[] = []

  constructor(folder: string, keptBytes: number) {
    this.#folder = folder
    this.#keptBytes = keptBytes
  }

  /** For a process of that name to write to. */
  file(name: string): string {
    const file = path.join(this.#folder, `${name}.jsonl`)
    writeFileSync(file, '')
    this.#files.push(new HistoryFile(file))
    return file
  }

  /** What a reader found last. */
  newest(): Found | undefined {
    this.#gather()
    return this.#events.findLast((event) => event.type === 'latest')?.found ?? undefined
  }

  /** Looks at everything so far. @returns whether anything is wrong */
  judge(report: StormReport): boolean {
    this.#gather()
    const violations = check({ events: this.#events, keptBytes: this.#keptBytes })
    for (const rule of new Set(violations.map((violation) => violation.rule))) {
      const same = violations.filter((violation) => violation.rule === rule)
      report.wrong.push(...same.slice(0, mostTold).map(({ text }) => `${rule}: ${text}`))
      if (same.length > mostTold) report.wrong.push(`${rule}: ${same.length - mostTold} more`)
    }
    return violations.length > 0
  }

  /** Adds what there was. */
  count(report: StormReport): void {
    const epochs = new Map<string, number>()
    let highest = 0
    for (const event of [...this.#events].sort((a, b) => a.at - b.at)) {
      if (event.type === 'owned') highest = Math.max(highest, event.epoch)
      if (event.type === 'invoked') {
        epochs.set(`${event.by}/${event.number}`, event.epoch)
        report.appends++
        report.bytes += event.bytes
      } else if (event.type === 'acknowledged') {
        report.acknowledged++
        if (highest > (epochs.get(`${event.by}/${event.number}`) ?? 0)) report.late++
      } else if (event.type === 'followed') report.followed++
      else if (event.type === 'lapped') report.laps++
      else if (event.type === 'read') report.readings++
    }
  }

  /**
   * What had happened by now, and no more: all that led to it is in the files by now, and of what comes while they are read
   * one might show the effect and another one not yet the cause.
   */
  #gather(): void {
    const by = now()
    const news = [...this.#later, ...this.#files.flatMap((file) => file.news())]
    this.#later = news.filter(({ at }) => at > by)
    this.#events.push(...news.filter(({ at }) => at <= by))
  }
}
