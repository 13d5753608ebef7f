/** `rdma-checkpoint devices`: the RDMA devices of this machine, and what keeps transport verbs from working. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import path from 'node:path'
import type { NativeVerbsDevice } from '../native.js'
import { fromNative } from '../native-error.js'
import { loadNative } from '../native-loader.js'
import { formatSize } from './sizes.js'
import { printJson, printTable } from './terminal.js'

const classFolder = '/sys/class/infiniband'

interface Port {
  port: number
  /** The kernel's word: ACTIVE, DOWN, ... */
  state: string
  /** InfiniBand or Ethernet. */
  link: string
  network: string[]
  addresses: string[]
}
interface Device extends NativeVerbsDevice {
  protocol: string
  ports: Port[]
}
interface Found {
  devices: Device[]
  /** What keeps transport verbs from working, each with a remedy. */
  missing: string[]
  /** What may get in the way. */
  remarks: string[]
}

/** @returns whether transport verbs can be used */
export function devices(options: { json?: boolean }): boolean {
  const found = find()
  const usable = found.missing.length === 0
  if (options.json) {
    printJson({ usable, ...found })
    return usable
  }
  if (found.devices.length > 0) {
    printTable(
      ['DEVICE', 'PORT', 'STATE', 'PROTOCOL', 'INTERFACE', 'ADDRESSES', 'LIMITS'],
      found.devices.flatMap((device) =>
        device.ports.map(({ port, state, network, addresses }) => [
          device.name,
          String(port),
          state,
          device.protocol,
          network.join(', ') || '-',
          addresses.join(', ') || '-',
          device.problem ||
            `${device.queuePairs} connections, ${device.registrations} registrations of ${formatSize(device.registrationBytes)}, ` +
              `${device.reads} reads, ${device.windows ? 'windows' : 'no windows'}${device.flush ? ', flush' : ''}`,
        ]),
      ),
    )
  }
  for (const { ports } of found.devices) {
    for (const address of ports.filter(({ state }) => state === 'ACTIVE').flatMap(({ addresses }) => addresses)) {
      console.log(`A unit with --data ${address.includes(':') ? `[${address}]` : address}:0 is reached by verbs there.`)
    }
  }
  for (const text of found.missing) console.log(`missing: ${text}`)
  for (const text of found.remarks) console.log(`note: ${text}`)
  if (!usable) console.log('Transport verbs cannot be used here; transport iwarp needs none of this.')
  return usable
}

function find(): Found {
  const missing: string[] = []
  const remarks: string[] = []
  let listed: NativeVerbsDevice[] = []
  try {
    listed = loadNative().verbsDevices()
  } catch (error) {
    missing.push(fromNative(error).message)
  }
  const found = listed.map(describe)
  if (!existsSync('/dev/infiniband/rdma_cm')) {
    missing.push("the kernel's connection manager, /dev/infiniband/rdma_cm. As root: modprobe rdma_ucm")
  }
  const inKernel = list(classFolder)
  if (inKernel.length === 0) {
    missing.push(
      'an RDMA device. Without hardware, soft-RoCE works on any network interface; as root: ' +
        'modprobe rdma_rxe && rdma link add rxe0 type rxe netdev eth0',
    )
  } else if (!existsSync('/dev/infiniband/uverbs0')) {
    missing.push('access to devices, /dev/infiniband/uverbs*. As root: modprobe ib_uverbs')
  }
  const ports = found.flatMap((device) => device.ports)
  if (ports.length > 0 && !ports.some(({ state, addresses }) => state === 'ACTIVE' && addresses.length > 0)) {
    missing.push('a port that is ACTIVE and has an address: ip link set DEV up, ip addr add ADDRESS dev DEV')
  }
  const limit = lockedMemoryLimit()
  if (limit !== undefined) {
    remarks.push(
      `registered memory is pinned, and RLIMIT_MEMLOCK allows ${formatSize(limit)} for this process. Raise it with ` +
        'ulimit -l unlimited, LimitMEMLOCK=infinity in a systemd unit, or --ulimit memlock=-1 for a container',
    )
  }
  return { devices: found, missing, remarks }
}

function describe(device: NativeVerbsDevice): Device {
  const folder = path.join(classFolder, device.name, 'ports')
  const ports = list(folder).map((name): Port => {
    const port = path.join(folder, name)
    const network = [
      ...new Set(list(path.join(port, 'gid_attrs/ndevs')).map((index) => read(port, 'gid_attrs/ndevs', index))),
    ].filter((found) => found !== '')
    if (network.length === 0) network.push(...list(path.join(classFolder, device.name, 'device/net')))
    return {
      port: Number(name),
      state: read(port, 'state').replace(/^\d+: /, ''),
      link: read(port, 'link_layer'),
      network,
      addresses: network.flatMap((name) => (networkInterfaces()[name] ?? []).map(({ address }) => address)),
    }
  })
  const link = ports[0]?.link
  return { ...device, protocol: device.iwarp ? 'iWARP' : link === 'Ethernet' ? 'RoCE' : 'InfiniBand', ports }
}

/** Bytes; undefined without a limit. The soft limit counts, unless the process is privileged to exceed it. */
function lockedMemoryLimit(): number | undefined {
  const text = /^Max locked memory +(\S+)/m.exec(read('/proc/self/limits'))?.[1]
  return text === undefined || text === 'unlimited' ? undefined : Number(text)
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function read(...parts: string[]): string {
  try {
    return readFileSync(path.join(...parts), 'utf8').trim()
  } catch {
    return ''
  }
}
