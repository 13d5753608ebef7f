/** Vitest's set-up file when an RDMA device is named: units of the test itself. */
import { PersistentMemoryUnit } from '../../src/index.js'
import { onDevice } from './on-device.mjs'

onDevice(PersistentMemoryUnit)
