/**
 * gRPC and the generated messages, loaded on first use: the import costs 30-60 ms, and a process that only imports the
 * package shall not pay it.
 */
import type * as Grpc from '@grpc/grpc-js'

export type GrpcModule = typeof Grpc

export interface ControlProto {
  grpc: GrpcModule
  service: Grpc.ServiceDefinition
  health: Grpc.ServiceDefinition
  Client: Grpc.ServiceClientConstructor
}

let loading: Promise<ControlProto> | undefined

export function loadControlProto(): Promise<ControlProto> {
  loading ??= load()
  return loading
}

async function load(): Promise<ControlProto> {
  const [grpc, { serviceDefinition }, { ControlDefinition }, { HealthDefinition }] = await Promise.all([
    import('@grpc/grpc-js'),
    import('./wire.js'),
    import('./generated/control.js'),
    import('./generated/health.js'),
  ])
  const service = serviceDefinition(ControlDefinition)
  const Client = grpc.makeGenericClientConstructor(service, ControlDefinition.name)
  return { grpc, service, health: serviceDefinition(HealthDefinition), Client }
}
