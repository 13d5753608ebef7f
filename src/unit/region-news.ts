/** What happens to regions, told to watchers, listeners and the log. */
import type { RegionRecord } from '../pool/slot.js'
import type { RegionEventType } from '../types.js'
import type { RegionEventLog } from './event-log.js'
import type { UnitEventFacts, UnitEventType, UnitJournal } from './journal.js'

export class RegionNews {
  readonly #events: RegionEventLog
  readonly #journal: Pick<UnitJournal, 'tell'> | undefined

  constructor(events: RegionEventLog, journal: Pick<UnitJournal, 'tell'> | undefined) {
    this.#events = events
    this.#journal = journal
  }

  /** To watchers, listeners and the log. */
  tell(type: RegionEventType, record: RegionRecord, facts: UnitEventFacts = {}): void {
    this.#events.add(record.name, type, record.epoch)
    this.log(type, record, facts)
  }

  /** To listeners and the log. */
  log(type: UnitEventType, record: RegionRecord, facts: UnitEventFacts): void {
    this.#journal?.tell(type, { region: record.name, regionId: record.id, epoch: record.epoch, ...facts })
  }
}
