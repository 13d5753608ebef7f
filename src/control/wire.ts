/** A generated service as gRPC wants it, and the bytes of its messages, which may be anybody's. */
import { BinaryReader } from '@bufbuild/protobuf/wire'
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js'
import { CheckpointError } from '../errors.js'
import { UnreadableRequest } from './unreadable-request.js'

interface MessageType {
  encode(message: never): { finish(): Uint8Array }
  decode(input: BinaryReader): unknown
  fromPartial(message: never): unknown
}
interface GeneratedService {
  fullName: string
  methods: Record<
    string,
    {
      name: string
      requestType: MessageType
      requestStream: boolean
      responseType: MessageType
      responseStream: boolean
    }
  >
}

/** Keys are the names of the calls as the .proto file has them. */
export function serviceDefinition(service: GeneratedService): ServiceDefinition {
  return Object.fromEntries(
    Object.values(service.methods).map((method) => [method.name, methodDefinition(service.fullName, method)]),
  )
}

function methodDefinition(
  service: string,
  { name, requestType, requestStream, responseType, responseStream }: GeneratedService['methods'][string],
): MethodDefinition<unknown, unknown> {
  return {
    path: `/${service}/${name}`,
    requestStream,
    responseStream,
    requestSerialize: (message) => encode(requestType, message),
    // gRPC would answer an error thrown here without one of our codes.
    requestDeserialize: (bytes) => {
      try {
        return decode(requestType, bytes)
      } catch (error) {
        const message = `${name}: the request is not a message of control.proto: ${(error as Error).message}`
        return new UnreadableRequest(new CheckpointError('PROTOCOL_VIOLATION', message, { cause: error }))
      }
    },
    responseSerialize: (message) => encode(responseType, message),
    responseDeserialize: (bytes) => decode(responseType, bytes),
  }
}

function encode(type: MessageType, message: unknown): Buffer {
  const bytes = type.encode(type.fromPartial(message as never) as never).finish()
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * The reader checks every length against the bytes available, and follows unknown groups at most 100 deep. Text that
 * is not UTF-8 is refused, because two names must not become one.
 */
function decode(type: MessageType, bytes: Uint8Array): unknown {
  const reader = new BinaryReader(bytes, (text) => utf8.decode(text))
  const message = type.decode(reader)
  // The generated code stops at tag 0 and at the end of a group that never began.
  if (reader.pos !== reader.len) throw new Error(`it ends after ${reader.pos} of ${reader.len} bytes`)
  return message
}
