/**
 * `node --import rdma-checkpoint/early app.js`: starts the peer link before the application's first line. It loads the addon and
 * nothing of gRPC. docs/early-link.md tells how it is configured; the application gets the link from `earlyPeer()`.
 */
import { startEarlyLink } from './peer/early-link.js'

startEarlyLink()
