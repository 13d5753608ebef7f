import { inspect } from 'node:util'
import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { CheckpointError } from '../../src/errors.js'

function fenced(): CheckpointError {
  const cause = new CheckpointError('REGION_BUSY', 'It has another owner.', { details: { owner: 'b@c:1' } })
  return new CheckpointError('FENCED', 'Another process owns the region.', {
    cause,
    outcome: 'unknown',
    retryable: true,
    help: 'Stop.',
    details: { epoch: 7n, since: new Date(0) },
  })
}
const facts = {
  name: 'CheckpointError',
  code: 'FENCED',
  message: 'Another process owns the region.',
  outcome: 'unknown',
  retryable: true,
  help: 'Stop.',
  details: { epoch: 7n, since: new Date(0) },
}

test('an error is an Error, with its stack and its cause', () => {
  const error = fenced()
  expect(error).toBeInstanceOf(CheckpointError)
  expect(error).toBeInstanceOf(Error)
  expect(Object.prototype.toString.call(error)).toBe('[object Error]')
  expect(error.stack).toMatch(/^CheckpointError: Another process owns the region\.\n {4}at fenced \(.*errors\.test\.ts/)
  expect(String(error)).toBe('CheckpointError: Another process owns the region.')
  expect(error).toMatchObject({ ...facts, cause: { code: 'REGION_BUSY' } })
})

test('a clone of an error has all of it but its class, which from() gives back', () => {
  const error = fenced()
  const clone = structuredClone(error)
  expect(clone).toMatchObject({ ...facts, stack: error.stack, cause: { code: 'REGION_BUSY', outcome: 'none' } })
  const again = CheckpointError.from(clone)
  expect(again).toBeInstanceOf(CheckpointError)
  expect(again?.cause).toBeInstanceOf(CheckpointError)
  expect(again).toMatchObject({ ...facts, stack: error.stack })
})

test('an error that was posted from a worker says its code and outcome', async () => {
  const error = fenced()
  const echo = new Worker(
    "require('node:worker_threads').parentPort.on('message', function (m) { this.postMessage(m); this.close() })",
    {
      eval: true,
    },
  )
  const answer = new Promise((resolve) => echo.once('message', resolve))
  echo.postMessage({ error })
  expect(await answer).toMatchObject({ error: { code: 'FENCED', outcome: 'unknown', details: { epoch: 7n } } })
})

test('a cause that cannot be cloned does not keep the error from it', () => {
  for (const cause of [() => undefined, Symbol('why'), { callback() {} }, AbortSignal.abort().reason]) {
    const error = new CheckpointError('ABORTED', 'Given up.', { cause })
    expect(error.cause).toBe(cause)
    expect(structuredClone(error)).toMatchObject({ code: 'ABORTED', outcome: 'none' })
  }
})

test('in JSON an error is its facts, numbers of 64 bits are texts, and from() reads it', () => {
  const text = JSON.stringify({ error: fenced() })
  expect(JSON.parse(text).error).toEqual({
    ...facts,
    details: { epoch: '7', since: '1970-01-01T00:00:00.000Z' },
    cause: {
      name: 'CheckpointError',
      message: 'It has another owner.',
      code: 'REGION_BUSY',
      outcome: 'none',
      retryable: false,
      details: { owner: 'b@c:1' },
    },
  })
  expect(CheckpointError.from(JSON.parse(text).error)).toMatchObject({ code: 'FENCED', outcome: 'unknown' })
  const around: Record<string, unknown> = { bytes: new Uint8Array(3), big: [1n], map: new Map([['a', new Error('b')]]) }
  around.itself = around
  expect(JSON.parse(JSON.stringify(new CheckpointError('INTERNAL', 'm', { details: around }))).details).toEqual({
    bytes: '[3 bytes]',
    big: ['1'],
    map: { a: { name: 'Error', message: 'b' } },
    itself: '[circular]',
  })
})

test('printed it is its stack, and its facts once', () => {
  const text = inspect(fenced())
  expect(text).toContain('CheckpointError: Another process owns the region.\n    at fenced')
  expect(text).toMatch(/code: 'FENCED',\s+outcome: 'unknown'/)
  expect(text).toContain("code: 'REGION_BUSY'")
  expect(text.match(/at fenced/g)).toHaveLength(2)
  expect(inspect({ a: { b: { c: { error: fenced() } } } })).toContain('[Object]')
})

test('what is no error of ours is none by from() either', () => {
  for (const value of [undefined, null, 'FENCED', {}, new Error('FENCED'), { name: 'CheckpointError', code: 'NO' }]) {
    expect(CheckpointError.from(value)).toBeUndefined()
  }
  const hostile = { name: 'CheckpointError', code: 'FENCED', message: 'm', outcome: 'eternal' }
  expect(CheckpointError.from(hostile)).toBeUndefined()
})

test('made with a code or an option that there is not, it is another error, with a code', () => {
  for (const make of [
    () => new CheckpointError('NOPE' as 'FENCED', 'm'),
    () => new CheckpointError('toString' as 'FENCED', 'm'),
    () => new CheckpointError('FENCED', 1 as unknown as string),
    () => new CheckpointError('FENCED', 'm', null as unknown as object),
    () => new CheckpointError('FENCED', 'm', { outcome: 'maybe' as 'none' }),
    () => new CheckpointError('FENCED', 'm', { retriable: true } as object),
  ]) {
    expect(make).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', outcome: 'none' }))
  }
})

test('a cause that cannot be looked at spoils neither the error nor what is printed of it', () => {
  const revoked = () => {
    const { proxy, revoke } = Proxy.revocable<unknown[]>([], {})
    revoke()
    return proxy
  }
  const throwing = new Proxy(
    {},
    {
      get() {
        throw new Error('a trap')
      },
    },
  )
  for (const cause of [revoked(), throwing, new Error('outer', { cause: revoked() })]) {
    const error = new CheckpointError('ABORTED', 'The call was aborted.', { cause, details: { what: revoked() } })
    expect(error.cause).toBe(cause)
    expect(JSON.parse(JSON.stringify(error))).toMatchObject({ code: 'ABORTED', details: { what: '[unreadable]' } })
  }
})
