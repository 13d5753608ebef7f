import * as grpc from '@grpc/grpc-js'
import { describe, expect, it } from 'vitest'
import { fromStatus, toStatus } from '../../src/control/status.js'
import { CheckpointError, type ErrorCode, errorCodes } from '../../src/errors.js'

function across(error: unknown): CheckpointError {
  return fromStatus(toStatus(grpc, error) as grpc.ServiceError, 'host:1', 'Call')
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
  const of = (code: number, details: string, metadata = new grpc.Metadata()) =>
    fromStatus(Object.assign(new Error(details), { code, details, metadata }), 'host:1', 'Call')

  it.each([
    [1, '', 'ABORTED', 'unknown'],
    [4, '', 'TIMEOUT', 'unknown'],
    [12, '', 'NOT_SUPPORTED', 'none'],
    [14, 'No connection established. Last error: connect ECONNREFUSED', 'CONNECTION_REFUSED', 'none'],
    [14, 'Connection dropped', 'CONNECTION_LOST', 'unknown'],
    [13, 'RST_STREAM', 'PROTOCOL_VIOLATION', 'unknown'],
  ])('%i %s is %s', (status, details, code, outcome) => expect(of(status, details)).toMatchObject({ code, outcome }))

  it('with hostile metadata is still coded', () => {
    const metadata = new grpc.Metadata()
    metadata.set('rdma-checkpoint-code', 'toString')
    expect(of(2, 'x', metadata).code).toBe('PROTOCOL_VIOLATION')
    metadata.set('rdma-checkpoint-code', 'FENCED')
    metadata.set('rdma-checkpoint-details', '[broken')
    expect(of(2, 'x', metadata)).toMatchObject({ code: 'FENCED', outcome: 'unknown' })
  })
})
