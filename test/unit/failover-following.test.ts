/** What a standby and a new primary make of damage in a log, and how often a failure is told. */
import { afterEach, expect, test, vi } from 'vitest'
import type { Checkpoint, CheckpointLog } from '../../src/checkpoint/index.js'
import { followed, restored } from '../../src/failover/following.js'
import { Troubles } from '../../src/failover/troubles.js'
import { CheckpointError } from '../../src/index.js'

afterEach(() => {
  vi.useRealTimers()
})

const checkpoint = (sequence: number): Checkpoint<number> => ({
  sequence: BigInt(sequence),
  epoch: 1n,
  schema: 0,
  writtenAt: new Date(0),
  bytes: 8,
  value: sequence,
  cursor: { region: 'r', epoch: 1n, sequence: BigInt(sequence) },
})

/** A log of 1 to 5, of which some are damaged. */
function logWith(damaged: readonly number[]): CheckpointLog<number> {
  const read = (sequence: number) => {
    if (damaged.includes(sequence)) throw new CheckpointError('CHECKPOINT_DAMAGED', `${sequence} is damaged`)
    return checkpoint(sequence)
  }
  return {
    end: async () => checkpoint(5),
    newest: async () => read(5),
    latest: async () => read(5),
    async *unread({ sequence }: { sequence: bigint }) {
      for (let next = Number(sequence) + 1; next <= 5; next++) yield read(next)
    },
    async *follow({ from }: { from: 'latest' | { sequence: bigint } }) {
      for (let next = from === 'latest' ? 5 : Number(from.sequence) + 1; next <= 5; next++) yield read(next)
      await new Promise(() => undefined)
    },
  } as unknown as CheckpointLog<number>
}

const damaged = expect.objectContaining({ code: 'CHECKPOINT_DAMAGED' })

test('a takeover passes what is damaged between what it knew and the newest, and tells of it', async () => {
  const told: unknown[] = []
  const state = await restored(
    logWith([4]),
    checkpoint(2),
    false,
    () => undefined,
    (error) => told.push(error),
  )
  expect(state?.value).toBe(5)
  expect(told).toEqual([damaged])
  await expect(
    restored(
      logWith([5]),
      checkpoint(2),
      false,
      () => undefined,
      () => undefined,
    ),
  ).rejects.toEqual(damaged)
})

test('a hot standby passes what is damaged in between, tells of it, and fails where it is the latest', async () => {
  const told: unknown[] = []
  const { signal } = new AbortController()
  const options = { everyMs: undefined, signal, onDamage: (error: CheckpointError) => told.push(error) }
  const seen: number[] = []
  for await (const { value } of followed(logWith([4]), checkpoint(2), options)) {
    seen.push(value)
    if (value === 5) break
  }
  expect(seen).toEqual([3, 5])
  expect(told).toEqual([damaged])
  await expect(followed(logWith([5]), undefined, options).next()).rejects.toEqual(damaged)
})

test('a hot standby is not given again what it had, where a restart took what was damaged behind it', async () => {
  const log = {
    async *follow({ from }: { from: 'latest' | { sequence: bigint } }) {
      if (from !== 'latest') throw new CheckpointError('CHECKPOINT_DAMAGED', '3 is damaged')
      yield checkpoint(2)
      yield checkpoint(6)
    },
  } as unknown as CheckpointLog<number>
  const { signal } = new AbortController()
  const options = { everyMs: undefined, signal, onDamage: () => undefined }
  expect((await followed(log, checkpoint(2), options).next()).value).toMatchObject({ value: 6 })
})

test('a reason is told once until something has gone well, and again when it has lasted', () => {
  vi.useFakeTimers()
  const told: unknown[] = []
  const troubles = new Troubles((error) => told.push(error))
  const refused = new CheckpointError('CONNECTION_REFUSED', 'nobody listens')
  for (let tries = 0; tries < 100; tries++) {
    troubles.tell(refused)
    troubles.tell(new CheckpointError('CONNECTION_REFUSED', `try ${tries}`))
    troubles.tell(new CheckpointError('TIMEOUT', `${tries} ms`))
    vi.advanceTimersByTime(200)
  }
  expect(told).toMatchObject([{ code: 'CONNECTION_REFUSED' }, { code: 'TIMEOUT' }])
  vi.advanceTimersByTime(10_000)
  troubles.tell(refused)
  expect(told).toHaveLength(3)
  troubles.clear()
  troubles.tell(refused)
  expect(told).toHaveLength(4)
})
