// vm.mjs -- a guest with kernel RDMA, under emulation, on a machine that has none. The guest sees the host's root read-only
// (its Node, libraries and this checkout) and throws its changes away; a results folder is shared both ways.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
export const checkout = join(here, '../..')
const cache = join(checkout, 'build/soft-roce')

/** Lines by which the kernel says that something is wrong. */
const complaint =
  /\b(BUG:|WARNING:|Oops:|Kernel panic|Call Trace:|KASAN:|blocked for more than|general protection|refcount_t:|Out of memory|possible recursive locking|suspicious RCU)/

/** The newest Debian kernel that is installed, with its headers; throws with the command that helps. */
export function kernel() {
  const installed = (() => {
    try {
      return readdirSync('/boot').filter((name) => name.startsWith('vmlinuz-'))
    } catch {
      return []
    }
  })()
  const newest = installed.sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1)
  if (newest === undefined) {
    throw new Error(`no kernel image in /boot. As root: apt-get install ${packages.join(' ')}`)
  }
  return { image: join('/boot', newest), version: newest.slice('vmlinuz-'.length) }
}

/** Debian packages that the guest needs on the host. */
export const packages = [
  'qemu-system-x86',
  'linux-image-amd64',
  'linux-headers-amd64',
  'linux-source-6.1',
  'busybox-static',
  'kmod',
  'cpio',
  'xz-utils',
  'iproute2',
  'rdma-core',
  'ibverbs-providers',
  'libibverbs-dev',
  'librdmacm-dev',
  'ibverbs-utils',
  'rdmacm-utils',
  'perftest',
  'ndctl',
]

/** What is missing on this machine, as one line with the command that helps; undefined when nothing is. */
export function missing() {
  const files = [
    '/usr/bin/qemu-system-x86_64',
    '/bin/busybox',
    '/usr/src/linux-source-6.1.tar.xz',
    '/usr/bin/ib_write_bw',
  ]
  const absent = files.filter((file) => !existsSync(file))
  if (!readdirSync('/boot').some((name) => name.startsWith('vmlinuz-'))) absent.push('a kernel in /boot')
  if (absent.length === 0) return undefined
  return `missing here: ${absent.join(', ')}. As root: apt-get install --no-install-recommends ${packages.join(' ')}`
}

/** Builds what the guests boot from, once: the initramfs and the soft-iWARP module. */
export function prepare() {
  mkdirSync(cache, { recursive: true })
  const { image, version } = kernel()
  const initramfs = join(cache, `initramfs-${version}.gz`)
  execFileSync(join(here, 'initramfs.sh'), [initramfs, version], { stdio: ['ignore', 'ignore', 'inherit'] })
  execFileSync(join(here, 'siw.sh'), [cache, version], { stdio: ['ignore', 'ignore', 'inherit'] })
  return { image, version, initramfs, siw: join(cache, `siw-${version}.ko`) }
}

/**
 * The same with Debian 13's kernel and rdma-core (trixie.sh), which have RDMA FLUSH. No soft-iWARP: its module is built from the
 * kernel's source, which is not fetched.
 */
export function prepareTrixie() {
  const folder = join(cache, 'trixie')
  const version = execFileSync(join(here, 'trixie.sh'), [folder], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }).trim()
  const root = join(folder, 'root')
  const initramfs = join(cache, `initramfs-${version}.gz`)
  execFileSync(join(here, 'initramfs.sh'), [initramfs, version, join(root, 'usr')], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  return { image: join(root, 'boot', `vmlinuz-${version}`), version, initramfs, siw: '', root }
}

function readIfThere(file) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

/**
 * Boots a guest that runs `script` (bash) and powers off.
 * @param {object} options
 * @param {object} [options.system] what to boot: prepare(), which is the default, or prepareTrixie()
 * @param {string} options.script
 * @param {string} options.results folder, emptied first
 * @param {number} [options.memoryGiB] default 4
 * @param {string} [options.nvdimm] a file that becomes the guest's emulated NVDIMM (512 MiB)
 * @param {{ netdev: string, mac: string }} [options.network] a wire to another guest: a qemu -netdev value without its id
 * @param {number} options.timeoutMs after which the guest is killed and counts as hung
 */
export function boot(options) {
  const { image, initramfs, version, siw, root } = options.system ?? prepare()
  rmSync(options.results, { recursive: true, force: true })
  mkdirSync(options.results, { recursive: true })
  const consoleFile = join(options.results, 'console.txt')
  const prelude = [
    `export GUEST_CHECKOUT='${checkout}' GUEST_SIW='${siw}' GUEST_NODE='${dirname(process.execPath)}'`,
    'export PATH="$GUEST_NODE:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" HOME=/root LANG=C.UTF-8',
    'source "$GUEST_CHECKOUT/test/soft-roce/guest/setup.sh"',
  ]
  writeFileSync(join(options.results, 'guest.sh'), `${prelude.join('\n')}\n${options.script}\nfinish\n`)
  writeFileSync(consoleFile, '')
  const memory = options.memoryGiB ?? 4
  const argv = [
    '-machine',
    options.nvdimm === undefined ? 'pc' : 'pc,nvdimm=on',
    '-accel',
    'tcg,thread=multi,tb-size=1024',
    '-cpu',
    'max',
    '-smp',
    '2',
    '-m',
    options.nvdimm === undefined ? `${memory}G` : `${memory}G,slots=4,maxmem=${memory + 4}G`,
    '-nographic',
    '-no-reboot',
    '-monitor',
    'none',
    '-serial',
    'stdio',
    '-kernel',
    image,
    '-initrd',
    initramfs,
    '-append',
    // no_timer_check: on a busy host the emulated timer can seem dead to a kernel that is starting, which then panics.
    'console=ttyS0 panic=-1 quiet mitigations=off hung_task_panic=0 no_timer_check',
    '-virtfs',
    'local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap',
    '-virtfs',
    `local,path=${options.results},mount_tag=results,security_model=none,multidevs=remap`,
  ]
  if (root !== undefined) {
    argv.push('-virtfs', `local,path=${root},mount_tag=system,security_model=none,readonly=on,multidevs=remap`)
  }
  if (options.nvdimm !== undefined) {
    argv.push('-object', `memory-backend-file,id=pm,share=on,mem-path=${options.nvdimm},size=512M`)
    argv.push('-device', 'nvdimm,id=nv,memdev=pm')
  }
  if (options.network === undefined) argv.push('-nic', 'none')
  else {
    argv.push('-netdev', `${options.network.netdev},id=wire`)
    argv.push('-device', `virtio-net-pci,netdev=wire,mac=${options.network.mac},romfile=`)
  }
  const emulator = spawn('qemu-system-x86_64', argv, { stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  const record = (chunk) => {
    text += chunk
    appendFileSync(consoleFile, chunk)
    options.onConsole?.(String(chunk))
  }
  emulator.stdout.on('data', record)
  emulator.stderr.on('data', record)
  const timer = setTimeout(() => emulator.kill('SIGKILL'), options.timeoutMs)
  const ended = once(emulator, 'exit').then(([, signal]) => {
    clearTimeout(timer)
    // What the guest kept of its kernel's log; the console has only what is urgent, but also the log's last words.
    const log = readIfThere(join(options.results, 'dmesg.txt'))
    return {
      killed: signal !== null,
      exitCode: Number(/^GUEST-EXIT (\d+)/m.exec(text)?.[1] ?? 255),
      complaints: [
        ...new Set(`${text.split(/^GUEST-EXIT/m)[0]}\n${log}`.split('\n').filter((line) => complaint.test(line))),
      ],
      console: text,
      kernel: version,
    }
  })
  return { emulator, ended, results: options.results, kill: () => emulator.kill('SIGKILL') }
}
