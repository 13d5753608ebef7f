/** What a unit tells about the machine it runs on. */
import type { NativeDeviceNews } from '../native.js'
import type { UnitJournal } from './journal.js'

/** Strangers are let in: said aloud, and as a warning of the process where nothing is logged. */
export function warnOpen(journal: UnitJournal, addresses: readonly string[]): void {
  const warning =
    'No authentication: whoever reaches this unit may read, write and delete everything in it. ' +
    `It listens on ${addresses.join(', ')}.`
  if (journal.logged) journal.log('warn', warning)
  else process.emitWarning(warning, { code: 'RDMA_CHECKPOINT_UNAUTHENTICATED' })
}

export function tellDeviceNews(journal: UnitJournal, { kind, device, port, text, count }: NativeDeviceNews): void {
  const facts = {
    device,
    what: kind,
    because: text,
    ...(port !== undefined && { port }),
    ...(count > 1 && { count }),
  }
  const level = kind === 'failed' || kind === 'removed' ? 'error' : kind === 'port-up' ? 'info' : 'warn'
  journal.tell('device', facts, level)
}
