import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { CheckpointError } from '../../src/errors.js'
import type { NativeResponder, NativeSessionState } from '../../src/native.js'
import { Pool } from '../../src/pool/pool.js'
import { PoolCatalogue } from '../../src/unit/catalogue.js'
import { RegionEventLog } from '../../src/unit/event-log.js'
import { inheritedOwnerLivesMs, ownerLivesMs } from '../../src/unit/ownership.js'
import type { OpenRequest } from '../../src/unit/region-openings.js'
import { RegionService } from '../../src/unit/regions.js'
import { type Session, Sessions } from '../../src/unit/sessions.js'
import { CrashableMedium, region } from './pool-medium.js'

/** Notes what is asked of the data plane, in order, and says of sessions what a test set. */
class RecordingResponder implements NativeResponder {
  readonly calls: string[] = []
  readonly states = new Map<bigint, NativeSessionState>()
  medium: CrashableMedium | undefined
  listen(): number {
    return 1
  }
  addRegion(id: bigint): void {
    this.calls.push(`add ${id}`)
  }
  async removeRegion(id: bigint): Promise<void> {
    this.calls.push(`remove ${id}`)
  }
  async fence(id: bigint, epoch: bigint): Promise<void> {
    this.calls.push(`fence ${id} ${epoch} after ${this.medium?.flushCalls} flushes`)
  }
  async dropHandle(id: bigint, handle: bigint): Promise<void> {
    this.calls.push(`drop ${id} ${handle}`)
  }
  async makeDurable(id: bigint): Promise<void> {
    this.calls.push(`make durable ${id}`)
  }
  addSession(session: bigint): void {
    this.states.set(session, living(session))
  }
  removeSession(session: bigint): void {
    this.states.delete(session)
  }
  leaseTime(): number {
    return performance.now()
  }
  sessions(): NativeSessionState[] {
    return [...this.states.values()]
  }
  issueToken(request: { kind: string; rights?: string; epoch?: bigint }): Uint8Array<ArrayBuffer> {
    this.calls.push(`token ${request.rights} ${request.epoch}`)
    return new Uint8Array(32)
  }
  counters(): Record<string, bigint> {
    return {}
  }
  async stop(): Promise<void> {}
}

function living(session: bigint): NativeSessionState {
  return { session, connected: true, everConnected: true, dataConnections: 1, heardMsAgo: 50, loopAgeMs: 50 }
}

const handleLimit = 4
let medium: CrashableMedium
let responder: RecordingResponder
let sessions: Sessions
let events: RegionEventLog
let regions: RegionService
let pool: Pool

async function started(from: CrashableMedium, fresh: boolean): Promise<void> {
  medium = from
  pool = fresh ? await Pool.format(medium, { medium: 'file', maxRegions: 8 }) : await Pool.open(medium)
  responder = new RecordingResponder()
  responder.medium = medium
  events = new RegionEventLog(pool.starts)
  sessions = new Sessions(responder, { sessions: 3, handles: handleLimit })
  regions = new RegionService(new PoolCatalogue(pool), responder, sessions, events, 50_000)
  for (const record of pool.records()) regions.serve(record)
  regions.ready()
}

function client(name: string): Session {
  return sessions.open(name, `${name}@host`)
}
function open(session: Session, mode: OpenRequest['mode'], more: Partial<OpenRequest> = {}) {
  return regions.openings.open(session, { name: 'a', mode, lease: {}, ...more })
}

beforeEach(async () => {
  await started(new CrashableMedium(new Uint8Array(1 << 18)), true)
  await regions.create(region('a'))
  responder.calls.length = 0
})
afterEach(() => {
  regions.stopWatches()
  vi.restoreAllMocks()
})

describe('when an owner counts as lost', () => {
  const lease = { silenceMs: 1000, stallMs: 10_000 }
  const state = living(1n)
  it.each([
    ['alive: heard and turning', state, true],
    ['lost: silent for a lease', { ...state, heardMsAgo: 1000 }, false],
    ['lost: its event loop stands still', { ...state, loopAgeMs: 10_000 }, false],
    ['alive: a long turn of its event loop', { ...state, loopAgeMs: 9_999 }, true],
    ['lost: all its connections closed', { ...state, connected: false, dataConnections: 0 }, false],
    ['alive: only its session connection broke', { ...state, connected: false, dataConnections: 1 }, true],
    ['lost: that, for a lease', { ...state, connected: false, dataConnections: 1, heardMsAgo: 1000 }, false],
    [
      'alive: it has just opened its session',
      { ...state, connected: false, everConnected: false, dataConnections: 0 },
      true,
    ],
    ['lost: the unit does not know its session', undefined, false],
  ])('%s', (_, session, lives) => expect(ownerLivesMs(lease, session) > 0).toBe(lives))

  it('stallMs 0 never gives up a stalled event loop', () => {
    expect(ownerLivesMs({ ...lease, stallMs: 0 }, { ...state, loopAgeMs: 1e9 })).toBeGreaterThan(0)
  })
  it('one full lease, and the time to come back, after a restart of the unit', () => {
    expect([inheritedOwnerLivesMs(lease, 2999), inheritedOwnerLivesMs(lease, 3000)]).toEqual([1, 0])
  })
})

describe('opening for writing', () => {
  it('raises the epoch durably, then fences, then issues the token', async () => {
    const before = medium.flushCalls
    const { handle, record } = await open(client('one'), 'write')
    expect(handle.epoch).toBe(1n)
    expect(record.owner?.identity).toBe('one@host')
    expect(responder.calls).toEqual([`fence 2 1 after ${before + 2} flushes`, 'make durable 2', 'token readWrite 1'])
    expect((await Pool.open(new CrashableMedium(medium.image))).get('a')?.epoch).toBe(1n)
  })

  it('makes durable what an earlier owner may have written, after the fence and before the token', async () => {
    await open(client('one'), 'write')
    responder.calls.length = 0
    const before = medium.flushCalls
    await open(client('two'), 'takeOver')
    // Two for the epoch.
    expect(responder.calls).toEqual([`fence 2 2 after ${before + 2} flushes`, 'make durable 2', 'token readWrite 2'])
  })

  it('gives no token when that cannot be made durable, and tries again with the next', async () => {
    await open(client('one'), 'write')
    const failure = Object.assign(new Error('a test'), { code: 'mediumFailed' })
    const makeDurable = vi.spyOn(responder, 'makeDurable').mockRejectedValueOnce(failure)
    responder.calls.length = 0
    // The epoch was raised, and the former owner cut off.
    await expect(open(client('two'), 'takeOver')).rejects.toMatchObject({ outcome: 'unknown' })
    expect(pool.get('a')?.epoch).toBe(2n)
    expect(responder.calls.filter((call) => call.startsWith('token'))).toEqual([])
    await open(client('two'), 'takeOver')
    expect(makeDurable).toHaveBeenCalledTimes(2)
  })

  it('is refused while the owner lives, with who, since when and the epoch', async () => {
    await open(client('one'), 'write')
    const second = client('two')
    const since = pool.get('a')?.owner?.sinceMs ?? 0
    await expect(open(second, 'write')).rejects.toMatchObject({
      code: 'REGION_BUSY',
      details: { owner: 'one@host', since: new Date(since).toISOString(), epoch: 1n },
    })
    expect(pool.get('a')?.epoch).toBe(1n)
  })

  it('succeeds when the owner is lost, and takes its handle away', async () => {
    const first = client('one')
    await open(first, 'write')
    responder.states.get(first.id)!.heardMsAgo = 1000
    expect(regions.ownerLost(regions.get('a'))).toBe(true)
    expect((await open(client('two'), 'write')).handle.epoch).toBe(2n)
    expect(first.handles.size).toBe(0)
    expect(regions.ownerLost(regions.get('a'))).toBe(false)
  })

  it('by several at once gives it to one', async () => {
    const results = await Promise.allSettled(
      [client('one'), client('two'), client('three')].map((session) => open(session, 'write')),
    )
    expect(results.map((result) => result.status).sort()).toEqual(['fulfilled', 'rejected', 'rejected'])
    expect(pool.get('a')?.epoch).toBe(1n)
  })

  it('succeeds at once when the owner closed its handle or its session', async () => {
    const first = client('one')
    await regions.openings.close((await open(first, 'write')).handle)
    expect(pool.get('a')?.owner).toBeUndefined()
    await open(first, 'write')
    await regions.openings.closeSession(first)
    expect(responder.states.has(first.id)).toBe(false)
    expect((await open(client('two'), 'write')).handle.epoch).toBe(3n)
  })

  it('takes over from an owner that lives', async () => {
    const first = client('one')
    const { handle } = await open(first, 'write')
    expect((await open(client('two'), 'takeOver')).handle.epoch).toBe(2n)
    for (const mode of ['write', 'takeOver'] as const) {
      const again = open(first, mode, { previousHandle: handle.id })
      await expect(again).rejects.toMatchObject({ code: 'FENCED', details: { owner: 'two@host', epoch: 2n } })
    }
  })

  it('of a region that was made again under the name is refused', async () => {
    const id = pool.get('a')!.id
    await regions.delete('a', undefined)
    await regions.create(region('a'))
    await expect(open(client('one'), 'read', { regionId: id })).rejects.toMatchObject({ code: 'REGION_NOT_FOUND' })
  })
})

describe('an open whose client has gone before it was answered', () => {
  const written = () => [...regions.written()].map(({ name }) => name)

  it('leaves nothing to be written back that was not there before', async () => {
    const opened = await open(client('one'), 'write')
    expect(written()).toEqual(['a'])
    await regions.openings.withdraw(opened)
    expect(written()).toEqual([])
  })

  it('leaves what its owner had written in an earlier session to be written back', async () => {
    const first = client('one')
    const { handle, ownerSecret } = await open(first, 'write')
    await regions.openings.expire(first)
    const again = await open(client('one'), 'write', { resume: { secret: ownerSecret!, epoch: handle.epoch } })
    await regions.openings.withdraw(again)
    expect(written()).toEqual(['a'])
  })

  it('takes the region from no owner that came back', async () => {
    const first = client('one')
    const { handle, ownerSecret } = await open(first, 'write')
    await regions.openings.expire(first)
    const resume = { secret: ownerSecret!, epoch: handle.epoch }
    const second = client('one')
    await regions.openings.withdraw(await open(second, 'write', { resume, attempt: 'aa' }))
    await expect(open(client('two'), 'write')).rejects.toMatchObject({ code: 'REGION_BUSY' })
    expect((await open(second, 'write', { resume, attempt: 'aa' })).handle.epoch).toBe(1n)
  })

  it('leaves no owner behind, however often it was made again', async () => {
    const one = client('one')
    const first = await open(one, 'write', { attempt: 'aa' })
    const second = await open(one, 'write', { attempt: 'aa' })
    const third = await open(one, 'write', { attempt: 'aa' })
    for (const opened of [first, third, second]) await regions.openings.withdraw(opened)
    expect(one.handles.size).toBe(0)
    expect((await open(client('two'), 'write')).handle.epoch).toBe(2n)
  })
})

describe('an open that its client cancels without having its answer', () => {
  it.each(['write', 'takeOver', 'read'] as const)('leaves nothing open, for mode %s', async (mode) => {
    const one = client('one')
    await open(one, mode, { attempt: 'aa' })
    await open(one, mode, { attempt: 'aa' })
    expect(one.handles.size).toBe(1)
    await regions.openings.cancel(one, 'a', 'bb')
    expect(one.handles.size).toBe(1)
    await regions.openings.cancel(one, 'a', 'aa')
    expect(one.handles.size).toBe(0)
    await open(client('two'), 'write')
  })

  it('is refused should it come later', async () => {
    const one = client('one')
    await regions.openings.cancel(one, 'a', 'aa')
    await expect(open(one, 'takeOver', { attempt: 'aa' })).rejects.toMatchObject({ code: 'ABORTED', outcome: 'none' })
    expect(pool.get('a')?.epoch).toBe(0n)
    for (let index = 0; index < 100; index++) await regions.openings.cancel(one, 'a', `${index}`)
    expect(one.cancelled.size).toBe(64)
  })

  it('gives up what its owner had and came back to', async () => {
    const first = client('one')
    const { handle, ownerSecret } = await open(first, 'write')
    await regions.openings.expire(first)
    const second = client('one')
    await open(second, 'write', { resume: { secret: ownerSecret!, epoch: handle.epoch }, attempt: 'aa' })
    await regions.openings.cancel(second, 'a', 'aa')
    expect(pool.get('a')?.owner).toBeUndefined()
  })
})

describe('those who watch', () => {
  async function told(count: number): Promise<string[]> {
    const types: string[] = []
    const stop = new AbortController()
    for await (const { type } of events.watch('a', 1n << 40n, () => ({ type: 'created', epoch: 0n }), stop.signal)) {
      if (types.push(type) === count) break
    }
    return types
  }

  it('are told once that an owner is lost, and again when it had come back', async () => {
    const session = client('one')
    await open(session, 'write')
    const state = responder.states.get(session.id)!
    state.heardMsAgo = 1000
    regions.lookAtOwners()
    regions.lookAtOwners()
    // It is heard again, and nobody looks but one who wants the region.
    state.heardMsAgo = 0
    await expect(open(client('two'), 'write')).rejects.toMatchObject({ code: 'REGION_BUSY' })
    state.heardMsAgo = 1000
    regions.lookAtOwners()
    await open(client('three'), 'write')
    expect(await told(5)).toEqual(['created', 'opened', 'owner-lost', 'owner-lost', 'taken-over'])
  })

  it('are not told of a loss while the region changes hands, but when that fails', async () => {
    const session = client('one')
    await open(session, 'write')
    vi.spyOn(responder, 'fence').mockImplementation(async () => regions.lookAtOwners())
    await open(client('two'), 'takeOver')
    vi.spyOn(responder, 'fence').mockRejectedValue(new Error('the data plane failed'))
    await expect(open(client('three'), 'takeOver')).rejects.toThrow('the data plane failed')
    expect(await told(4)).toEqual(['created', 'opened', 'taken-over', 'owner-lost'])
  })
})

describe('opening again', () => {
  it('drops the earlier connection first and keeps handle and epoch', async () => {
    const session = client('one')
    const { handle } = await open(session, 'write')
    responder.calls.length = 0
    const again = await open(session, 'write', { previousHandle: handle.id })
    expect(again.handle).toBe(handle)
    expect(responder.calls).toEqual([`drop 2 ${handle.id}`, 'token readWrite 1'])
    const reader = await open(session, 'read')
    expect((await open(session, 'read', { previousHandle: reader.handle.id })).handle).toBe(reader.handle)
  })

  it('after a restart of the unit is the owner’s alone for a lease', async () => {
    const { ownerSecret, handle } = await open(client('one'), 'write', { lease: { silenceMs: 5000 } })
    await started(new CrashableMedium(medium.image), false)
    const other = client('two')
    await expect(open(other, 'write')).rejects.toMatchObject({ code: 'REGION_BUSY' })
    const wrong = { secret: new Uint8Array(32), epoch: handle.epoch }
    await expect(open(other, 'write', { resume: wrong })).rejects.toMatchObject({ code: 'FENCED' })
    const back = await open(client('one'), 'write', { resume: { secret: ownerSecret!, epoch: handle.epoch } })
    expect(back.handle.epoch).toBe(1n)
    await expect(open(other, 'write')).rejects.toMatchObject({ code: 'REGION_BUSY' })
  })

  it('after a restart and a lease is open to all, and then fences the old owner', async () => {
    const { ownerSecret, handle } = await open(client('one'), 'write', { lease: { silenceMs: 200 } })
    await started(new CrashableMedium(medium.image), false)
    const two = client('two')
    const opened = async () => {
      for (;;) {
        try {
          return await open(two, 'write')
        } catch (error) {
          expect(error).toMatchObject({ code: 'REGION_BUSY' })
        }
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    }
    expect((await opened()).handle.epoch).toBe(2n)
    const late = open(client('one'), 'write', { resume: { secret: ownerSecret!, epoch: handle.epoch } })
    await expect(late).rejects.toMatchObject({ code: 'FENCED', details: { epoch: 2n } })
  })

  it('by an open that is made again since its answer was lost: the same owner, epoch and secret, and no withdrawal', async () => {
    const one = client('one')
    for (const mode of ['write', 'takeOver'] as const) {
      const first = await open(one, mode, { attempt: `aa-${mode}` })
      const again = await open(one, mode, { attempt: `aa-${mode}` })
      expect([again.handle, again.handle.epoch]).toEqual([first.handle, first.handle.epoch])
      expect(again.ownerSecret).toEqual(first.ownerSecret)
      await regions.openings.withdraw(first)
      await expect(open(one, 'write', { attempt: 'bb' })).rejects.toMatchObject({ code: 'REGION_BUSY' })
      await expect(open(client(`two-${mode}`), 'write', { attempt: `aa-${mode}` })).rejects.toMatchObject({
        code: 'REGION_BUSY',
      })
    }
  })

  it('with the secret, by another session of the client, drops the old handle', async () => {
    const first = client('one')
    const { ownerSecret, handle } = await open(first, 'write')
    responder.calls.length = 0
    await open(client('one'), 'write', { resume: { secret: ownerSecret!, epoch: 1n } })
    expect(responder.calls[0]).toBe(`drop 2 ${handle.id}`)
    expect(first.handles.size).toBe(0)
  })
})

describe('limits', () => {
  it('of sessions, handles, bytes, cursors are kept', async () => {
    const session = client('one')
    for (let index = 0; index < 4; index++) await open(session, 'read')
    await expect(open(session, 'read')).rejects.toMatchObject({ code: 'LIMIT_REACHED' })
    client('two')
    client('three')
    expect(() => client('four')).toThrow(expect.objectContaining({ code: 'LIMIT_REACHED' }))
    await expect(regions.create(region('big', 50_001))).rejects.toMatchObject({ code: 'LIMIT_REACHED' })
    for (let index = 0; index < 16; index++) {
      await regions.saveCursor('a', undefined, { name: `c${index}`, epoch: 1n, sequence: 1n })
    }
    const more = { name: 'c16', epoch: 1n, sequence: 1n }
    await expect(regions.saveCursor('a', undefined, more)).rejects.toMatchObject({ code: 'LIMIT_REACHED' })
    await regions.saveCursor('a', undefined, { name: 'c3', epoch: 0n, sequence: 0n })
    await regions.saveCursor('a', undefined, more)
    const found = (await Pool.open(new CrashableMedium(medium.image))).get('a')
    expect(found?.cursors).toHaveLength(16)
  })

  it.each(['', 'x'.repeat(256), 'a\0b', '\ud800'])('refuse the name %j', async (name) => {
    await expect(regions.create(region(name))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})

it('sessions whose clients are gone are forgotten, and their ownerships stay as lost', async () => {
  const session = client('one')
  await open(session, 'write')
  Object.assign(responder.states.get(session.id)!, { connected: false, dataConnections: 0, heardMsAgo: 60_001 })
  const [expired] = sessions.expired()
  expect(expired).toBe(session)
  await regions.openings.expire(session)
  expect(sessions.size).toBe(0)
  expect(pool.get('a')?.owner?.identity).toBe('one@host')
  expect(regions.ownerLost(regions.get('a'))).toBe(true)
  expect(() => sessions.get(session.id)).toThrow(expect.objectContaining({ code: 'SESSION_EXPIRED' }))
})

it('a client without room for another handle takes nothing from anybody', async () => {
  await open(client('one'), 'write')
  const full = client('two')
  while (full.handles.size < handleLimit) await open(full, 'read')
  await expect(open(full, 'takeOver')).rejects.toMatchObject({ code: 'LIMIT_REACHED', outcome: 'none' })
  expect(pool.get('a')?.epoch).toBe(1n)
})

it('a region whose entry could not be deleted is served again', async () => {
  medium.failFlushes = true
  await expect(regions.delete('a', undefined)).rejects.toThrow('the medium failed')
  expect(responder.calls).toEqual(['remove 2', 'add 3'])
  await open(client('one'), 'read')
  await expect(open(client('two'), 'write')).rejects.toMatchObject({ code: 'POOL_READ_ONLY' })
})

it('lists in pages, by prefix, in one order', async () => {
  const { catalogue } = regions
  for (const name of ['b/2', 'b/1', 'b', 'c', 'B']) await regions.create(region(name, 1))
  const names = (prefix: string, after: string, limit: number) => {
    const page = catalogue.list(prefix, after, limit)
    return [...page.records.map((record) => record.name), page.more]
  }
  expect(names('', '', 10)).toEqual(['B', 'a', 'b', 'b/1', 'b/2', 'c', false])
  expect(names('', '', 2)).toEqual(['B', 'a', true])
  expect(names('', 'a', 2)).toEqual(['b', 'b/1', true])
  expect(names('b/', '', 1)).toEqual(['b/1', true])
  expect(names('b/', 'b/1', 1)).toEqual(['b/2', false])
  await regions.delete('b/1', undefined)
  expect(names('', 'b/1', 2)).toEqual(['b/2', 'c', false])
})

it('a close that cannot put the release on record fails, and so do later ones; all of them close what they are for', async () => {
  await regions.create(region('b'))
  await regions.create(region('c'))
  const [one, two] = [client('one'), client('two')]
  const { handle } = await open(one, 'write')
  for (const name of ['b', 'c']) await open(two, 'write', { name })
  medium.failFlush = { after: 0, failure: new CheckpointError('MEDIUM_FAILED', 'the disk is gone') }
  await expect(regions.openings.close(handle)).rejects.toMatchObject({ code: 'MEDIUM_FAILED', outcome: 'unknown' })
  expect(one.handles.size).toBe(0)
  await expect(regions.openings.closeSession(two)).rejects.toMatchObject({ code: 'POOL_READ_ONLY', outcome: 'unknown' })
  expect(two.handles.size).toBe(0)
  expect(sessions.has(two.id)).toBe(false)
  // A reader leaves nothing on record.
  await regions.openings.close((await open(one, 'read')).handle)
})

it('whoever asks again to close what is being closed hears what the first one hears', async () => {
  const [one, two] = [client('one'), client('two')]
  const { handle } = await open(one, 'write')
  let fail: (error: unknown) => void = () => undefined
  vi.spyOn(regions.catalogue, 'update').mockReturnValueOnce(new Promise((_, reject) => (fail = reject)))
  const first = regions.openings.close(handle).catch((error: unknown) => error)
  await expect.poll(() => one.handles.size).toBe(0)
  const again = regions.openings.closed(one, handle.id).catch((error: unknown) => error)
  const failure = new CheckpointError('MEDIUM_FAILED', 'the disk is gone')
  fail(failure)
  expect(await Promise.all([first, again])).toMatchObject([{ code: 'MEDIUM_FAILED' }, { code: 'MEDIUM_FAILED' }])
  await expect(regions.openings.closed(one, handle.id)).rejects.toMatchObject({ code: 'MEDIUM_FAILED' })
  await expect(regions.openings.closeSession(one)).rejects.toMatchObject({ code: 'MEDIUM_FAILED' })
  // What was closed is closed.
  const opened = await open(two, 'takeOver', { attempt: 'abc' })
  await regions.openings.close(opened.handle)
  await regions.openings.closed(two, opened.handle.id)
  expect(two.closings.size).toBe(0)
})
