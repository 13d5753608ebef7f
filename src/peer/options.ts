/** The options of a link to the partner process, and their checks, which come before anything else. */
import { isIP } from 'node:net'
import { formatAddress, type HostPort, isLoopback, parseAddress } from '../address.js'
import { checkBytes, checkName, invalid, kindOf, oneOf } from '../call/check.js'
import { needed, shape, take } from '../call/shape.js'
import { CheckpointError } from '../errors.js'

export interface PeerOptions {
  /** address:port on which this process listens for its partner, which must know it. Port 0 takes any free port. */
  listen: string
  /** address:port on which the partner listens. Addresses are numeric, because there is no event loop yet to look up a name. */
  partner: string
  /** The name of the pair, the same on both ends: processes of different pairs do not link. Default `default`. */
  name?: string
  /**
   * A secret that only the two know, 16 bytes or more. Each end proves that it knows the secret, without revealing it. Required
   * unless both addresses are loopback. It keeps strangers from linking; it does not encrypt.
   */
  secret?: string | Uint8Array
  /** Default `iwarp`; `auto` is not needed, since the two are configured together. */
  transport?: 'iwarp' | 'verbs'
}

export interface CheckedPeerOptions {
  listen: HostPort
  partner: HostPort
  name: string
  secret?: Uint8Array
  transport: 'iwarp' | 'verbs'
}

const leastSecret = 16

const peerOptions = shape<PeerOptions>({
  listen: needed((value, what) => formatAddress(numeric(value, what))),
  partner: needed((value, what) => formatAddress(numeric(value, what))),
  name: (value) => checkName(value, 'The name of a pair'),
  secret: checkSecret,
  transport: oneOf('iwarp', 'verbs'),
})

/** @throws CheckpointError `INVALID_ARGUMENT`, `UNAUTHENTICATED` */
export function checkPeerOptions(options: PeerOptions): CheckedPeerOptions {
  const { transport = 'iwarp', name = 'default', ...given } = take(peerOptions, options)
  const listen = numeric(given.listen, 'listen')
  const partner = numeric(given.partner, 'partner')
  if (partner.port === 0) throw invalid('partner needs a port: it is where the partner listens.')
  const secret = given.secret === undefined ? undefined : secretBytes(given.secret)
  for (const address of [listen, partner]) {
    if (secret === undefined && !isLoopback(address.host)) {
      throw new CheckpointError(
        'UNAUTHENTICATED',
        `${formatAddress(address)} is no loopback address, and the pair has no secret: whoever reaches it could pass for the partner.`,
        { help: 'Give both ends the same secret, or use loopback addresses.' },
      )
    }
  }
  return { listen, partner, name, transport, ...(secret === undefined ? {} : { secret }) }
}

function numeric(given: unknown, what: string): HostPort {
  const address = parseAddress(given, what)
  if (isIP(address.host) === 0) {
    throw invalid(`${what} must have a numeric address, not the name ${address.host}.`)
  }
  return address
}

/** The message never contains the secret. */
function checkSecret(secret: unknown, what: string): string | Uint8Array {
  if (typeof secret !== 'string') {
    if (!(secret instanceof Uint8Array)) {
      throw invalid(`${what} must be a string or a Uint8Array; it is ${kindOf(secret)}.`)
    }
    checkBytes(secret, what)
  }
  const { length } = secretBytes(secret)
  if (length < leastSecret) throw invalid(`${what} must have ${leastSecret} bytes or more; it has ${length}.`)
  return secret
}

function secretBytes(secret: string | Uint8Array): Uint8Array {
  return typeof secret === 'string' ? Buffer.from(secret) : secret
}
