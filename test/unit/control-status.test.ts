import * as grpc from '@grpc/grpc-js'
import { describe, expect, it } from 'vitest'
import { fromStatus, toStatus } from '../../src/control/status.js'
import { CheckpointError, type ErrorCode, errorCodes } from '../../src/errors.js'

function across(error: unknown): CheckpointError {
  return fromStatus(toStatus(grpc, error) as grpc.ServiceError, 'host:1', 'Call', true)
}

describe('an error of the unit', () => {
  it('reaches the client with everything it says', () => {
    const error = new CheckpointError('REGION_BUSY', 'Größe ✓ ist belegt', {
      help: 'hilft: äöü 🚀',
      retryable: true,
      outcome: 'none',
      details: { owner: 'ä@host', epoch: 2n ** 63n, since: '2026-11-20', count: 3 },
    })
    const { code, message, help, retryable, outcome, details } = across(error)
    expect({ code, message, help, retryable, outcome, details }).toEqual({
      code: 'REGION_BUSY',
      message: error.message,
      help: error.help,
      retryable: true,
      outcome: 'none',
      details: error.details,
    })
  })

  it('keeps each code', () => {
    for (const code of Object.keys(errorCodes) as ErrorCode[])
      expect(across(new CheckpointError(code, 'x')).code).toBe(code)
  })

  it('that is none of ours is INTERNAL, with outcome unknown', () => {
    expect(across(new TypeError('oops'))).toMatchObject({ code: 'INTERNAL', outcome: 'unknown', message: 'oops' })
  })

  it('with details too large for metadata goes without them', () => {
    const error = new CheckpointError('POOL_FULL', 'x', { details: { text: 'y'.repeat(10_000) } })
    expect(across(error).details).toBeUndefined()
  })
})

describe('an error of gRPC', () => {
  const of = (code: number, details: string, metadata = new grpc.Metadata(), sent = true) =>
    fromStatus(Object.assign(new Error(details), { code, details, metadata }), 'host:1', 'Call', sent)

  it.each([
    [1, 'Call cancelled', 'CONNECTION_LOST', 'unknown'],
    [2, 'Received HTTP status code 500', 'PROTOCOL_VIOLATION', 'none'],
    [4, '', 'TIMEOUT', 'unknown'],
    [7, 'Received HTTP status code 403', 'PROTOCOL_VIOLATION', 'none'],
    [8, 'Bandwidth exhausted or memory limit exceeded', 'CONNECTION_LOST', 'unknown'],
    [8, 'Received message larger than max (5000000 vs 4194304)', 'LIMIT_REACHED', 'unknown'],
    [12, '', 'NOT_SUPPORTED', 'none'],
    [12, 'Received HTTP status code 404', 'PROTOCOL_VIOLATION', 'none'],
    [13, 'Received RST_STREAM with code 2 (Internal server error)', 'CONNECTION_LOST', 'unknown'],
    [
      13,
      'Received RST_STREAM with code 2 triggered by internal client error: read EPIPE',
      'CONNECTION_LOST',
      'unknown',
    ],
    [13, 'Response message parsing error: index out of range', 'PROTOCOL_VIOLATION', 'unknown'],
    [14, 'Connection dropped', 'CONNECTION_LOST', 'unknown'],
    [14, 'Stream refused by server', 'CONNECTION_LOST', 'none'],
    [14, 'read ECONNRESET', 'CONNECTION_LOST', 'unknown'],
    [16, 'Received HTTP status code 401', 'PROTOCOL_VIOLATION', 'none'],
    [11, 'of another program', 'PROTOCOL_VIOLATION', 'unknown'],
  ])('%i %s is %s', (status, details, code, outcome) => expect(of(status, details)).toMatchObject({ code, outcome }))

  it('on a connection that never stood has done nothing, whatever it is', () => {
    for (const [status, code] of [
      [4, 'TIMEOUT'],
      [14, 'CONNECTION_REFUSED'],
      [13, 'PROTOCOL_VIOLATION'],
    ] as const) {
      expect(of(status, 'x', new grpc.Metadata(), false)).toMatchObject({ code, outcome: 'none' })
    }
  })

  it('that can pass is retryable, and no other', () => {
    for (let status = 1; status <= 16; status++) {
      const { code, retryable } = of(status, 'x')
      expect(retryable).toBe(['CONNECTION_REFUSED', 'CONNECTION_LOST', 'TIMEOUT'].includes(code))
    }
  })

  it('with hostile metadata is still coded', () => {
    const metadata = new grpc.Metadata()
    metadata.set('rdma-checkpoint-code', 'toString')
    expect(of(2, 'x', metadata).code).toBe('PROTOCOL_VIOLATION')
    metadata.set('rdma-checkpoint-code', 'FENCED')
    metadata.set('rdma-checkpoint-details', '[broken')
    expect(of(2, 'x', metadata)).toMatchObject({ code: 'FENCED', outcome: 'unknown' })
  })
})
