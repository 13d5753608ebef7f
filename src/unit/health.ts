/** grpc.health.v1 of a unit: what its services' status is, and each change of it for those who watch. */
import type * as Grpc from '@grpc/grpc-js'
import type {
  HealthCheckRequest,
  HealthCheckResponse,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from '../control/generated/health.js'
import { UnreadableRequest } from '../control/unreadable-request.js'

type Unary<Q> = Grpc.ServerUnaryCall<Q | UnreadableRequest, unknown>
type Watch = Grpc.ServerWritableStream<HealthCheckRequest | UnreadableRequest, HealthCheckResponse>

const notFound = 5
const invalidArgument = 3

export class Health {
  #statuses: Map<string, ServingStatus>
  /** Which service each watches. */
  #watches = new Map<Watch, string>()

  /** @param services what is asked after; none of them serves yet */
  constructor(services: readonly string[]) {
    this.#statuses = new Map(services.map((service) => [service, 'NOT_SERVING']))
  }

  setServing(serving: boolean): void {
    const status = serving ? 'SERVING' : 'NOT_SERVING'
    for (const service of this.#statuses.keys()) this.#statuses.set(service, status)
    for (const [watch, service] of this.#watches) if (this.#statuses.has(service)) watch.write({ status })
  }

  /** Ends what would keep an orderly stop waiting. */
  close(): void {
    for (const watch of this.#watches.keys()) watch.end()
    this.#watches.clear()
  }

  get implementation(): Grpc.UntypedServiceImplementation {
    return {
      Check: ({ request }: Unary<HealthCheckRequest>, callback: Grpc.sendUnaryData<HealthCheckResponse>) => {
        if (request instanceof UnreadableRequest) return callback(unreadable(request))
        const status = this.#statuses.get(request.service)
        if (status === undefined) callback({ code: notFound, details: 'This service is not known here.' })
        else callback(null, { status })
      },
      List: (_: Unary<unknown>, callback: Grpc.sendUnaryData<{ statuses: Map<string, HealthCheckResponse> }>) => {
        callback(null, { statuses: new Map([...this.#statuses].map(([service, status]) => [service, { status }])) })
      },
      Watch: (watch: Watch) => {
        const { request } = watch
        if (request instanceof UnreadableRequest) {
          watch.emit('error', unreadable(request))
          return
        }
        this.#watches.set(watch, request.service)
        const forget = () => this.#watches.delete(watch)
        watch.on('cancelled', forget)
        watch.on('error', forget)
        watch.write({ status: this.#statuses.get(request.service) ?? 'SERVICE_UNKNOWN' })
      },
    }
  }
}

function unreadable({ error }: UnreadableRequest): { code: number; details: string } {
  return { code: invalidArgument, details: error.message }
}
