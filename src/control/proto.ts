/**
 * gRPC and control.proto, loaded on first use: the import costs 30-60 ms, and a process that only imports the package
 * shall not pay it.
 */
import { fileURLToPath } from 'node:url'
import type * as Grpc from '@grpc/grpc-js'

export type GrpcModule = typeof Grpc

export interface ControlProto {
  grpc: GrpcModule
  service: Grpc.ServiceDefinition
  Client: Grpc.ServiceClientConstructor
}

let loading: Promise<ControlProto> | undefined

export function loadControlProto(): Promise<ControlProto> {
  loading ??= load()
  return loading
}

async function load(): Promise<ControlProto> {
  const [grpc, loader] = await Promise.all([import('@grpc/grpc-js'), import('@grpc/proto-loader')])
  const definition = await loader.load(fileURLToPath(new URL('./control.proto', import.meta.url)), {
    longs: String,
    enums: String,
    bytes: Buffer,
    defaults: true,
    oneofs: false,
  })
  const root = grpc.loadPackageDefinition(definition) as unknown as {
    rdma_checkpoint: { v1: { Control: Grpc.ServiceClientConstructor } }
  }
  const Client = root.rdma_checkpoint.v1.Control
  return { grpc, service: Client.service, Client }
}
