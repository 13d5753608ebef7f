/** `rdma-checkpoint cursors`: the places in a region's log that readers have saved. */
import { CheckpointError } from '../errors.js'
import { printable } from '../printable.js'
import type { Cursor } from '../types.js'
import { withRegion } from './checkpoints.js'
import type { OutputOptions } from './regions.js'
import { printJson, printTable } from './terminal.js'

export async function listCursors(address: string, region: string, options: OutputOptions): Promise<void> {
  const cursors = await withRegion(address, region, options, async (opened) => {
    return (await opened.metadata({ timeoutMs: options.timeout })).cursors
  })
  if (options.json) {
    printJson(cursors)
    return
  }
  const rows = cursors.map(({ name, sequence, epoch }) => [printable(name), String(sequence), String(epoch)])
  printTable(['NAME', 'SEQUENCE', 'EPOCH'], rows)
}

/** @param sequence a checkpoint that is kept; default: the newest */
export async function setCursor(
  address: string,
  region: string,
  name: string,
  options: OutputOptions & { sequence?: bigint },
): Promise<void> {
  const call = { timeoutMs: options.timeout }
  const saved = await withRegion(address, region, options, async (opened) => {
    const reader = opened.checkpoints()
    const infos = await reader.list(call)
    const { sequence } = options
    const info = sequence === undefined ? infos.at(-1) : infos.find((other) => other.sequence === sequence)
    if (info === undefined) {
      const which = sequence === undefined ? 'no checkpoint' : `no checkpoint ${sequence}`
      throw new CheckpointError('CHECKPOINT_NOT_FOUND', `Region "${region}" holds ${which}.`, {
        details: { oldest: infos[0]?.sequence, newest: infos.at(-1)?.sequence },
      })
    }
    await reader.saveCursor(name, info.cursor, call)
    const at = info.damaged ? info.through : info.sequence
    return { name, sequence: at, epoch: info.cursor.epoch }
  })
  if (options.json) printJson(saved)
  else process.stdout.write(`saved ${printable(name)} at checkpoint ${saved.sequence}\n`)
}

/** From then on the log may drop what the cursor held back. */
export async function deleteCursor(
  address: string,
  region: string,
  name: string,
  options: OutputOptions,
): Promise<void> {
  const call = { timeoutMs: options.timeout }
  await withRegion(address, region, options, async (opened) => {
    const { cursors } = await opened.metadata(call)
    if (!cursors.some((cursor) => cursor.name === name)) {
      throw new CheckpointError('CURSOR_INVALID', `Region "${region}" has no cursor "${name}".`, {
        details: { names: cursors.map((cursor) => cursor.name) },
      })
    }
    const nowhere: Cursor = { region: opened.id, epoch: 0n, sequence: 0n }
    await opened.checkpoints().saveCursor(name, nowhere, call)
  })
  if (options.json) printJson({ deleted: name })
  else process.stdout.write(`deleted cursor ${printable(name)}\n`)
}
