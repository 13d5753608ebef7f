// The packed tarball, as a user gets it: installed without install scripts and without a compiler.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const prebuilds = path.join(root, 'prebuilds', `linux-${process.arch}`)
const shadow = path.join(root, 'build', 'Release', 'shadow', 'rdma_checkpoint_shadow.node')
const project = mkdtempSync(path.join(tmpdir(), 'rdma-checkpoint-project-'))
const installed = path.join(project, 'node_modules', 'rdma-checkpoint')

/** What a machine without a compiler has: Node and nothing else on PATH. */
const emptyPath = path.join(project, 'bin')
const bare = { PATH: emptyPath, HOME: project, PREBUILDS_ONLY: '1' }

function node(args: string[], options: { env?: Record<string, string>; cwd?: string } = {}): string {
  return execFileSync(process.execPath, args, {
    cwd: options.cwd ?? project,
    env: { ...bare, ...options.env },
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}

beforeAll(() => {
  const quiet = { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] as ['ignore', 'pipe', 'pipe'] }
  execFileSync('npm', ['run', '--silent', 'prebuild'], quiet)
  execFileSync('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', project], quiet)
  const tarball = readdirSync(project).find((name) => name.endsWith('.tgz'))
  expect(tarball).toBeDefined()
  writeFileSync(path.join(project, 'package.json'), '{ "name": "user", "private": true }')
  execFileSync('npm', ['install', '--silent', '--ignore-scripts', '--prefer-offline', `./${tarball}`], {
    ...quiet,
    cwd: project,
  })
  execFileSync('mkdir', [emptyPath])
  symlinkSync(process.execPath, path.join(emptyPath, 'node'))
}, 900_000)

afterAll(() => rmSync(project, { recursive: true, force: true }))

describe('the installed tarball', () => {
  test('holds the code, the prebuild, the control protocol and what building from source needs', () => {
    for (const name of [
      'LICENSE',
      'README.md',
      'UPGRADING.md',
      'docs/errors.md',
      'docs/getting-started.md',
      'examples/writer.js',
      'examples/demo.js',
      'binding.gyp',
      'dist/index.js',
      'dist/index.d.ts',
      'dist/early.js',
      'dist/early.d.ts',
      'dist/cli/main.js',
      'dist/control/control.proto',
      'dist/control/generated/control.js',
      'dist/control/generated/control.d.ts',
      'native/binding/addon.cpp',
      'native/build/addon.mjs',
      `prebuilds/linux-${process.arch}/rdma-checkpoint.glibc.node`,
    ]) {
      expect(existsSync(path.join(installed, name)), name).toBe(true)
    }
  })

  test('holds no build folder, no tests and no install script', () => {
    for (const name of ['build', 'test', 'bench', '.ci']) {
      expect(existsSync(path.join(installed, name)), name).toBe(false)
    }
    const manifest = JSON.parse(readFileSync(path.join(installed, 'package.json'), 'utf8'))
    expect(manifest.gypfile).toBe(false)
    expect(Object.keys(manifest.scripts)).not.toEqual(expect.arrayContaining(['install']))
    for (const hook of ['preinstall', 'install', 'postinstall']) expect(manifest.scripts[hook]).toBeUndefined()
  })

  test('is imported and required, and both give the same names', () => {
    const names = (line: string, type: string) => node([`--input-type=${type}`, '-e', line]).trim()
    const imported = names(
      "import * as m from 'rdma-checkpoint'; console.log(Object.keys(m).filter((k) => k !== 'module.exports').sort().join())",
      'module',
    )
    const required = names(
      "console.log(Object.keys(require('rdma-checkpoint')).filter((k) => k !== 'module.exports').sort().join())",
      'commonjs',
    )
    expect(imported.split(',')).toEqual(expect.arrayContaining(['CheckpointError', 'PersistentMemoryUnit', 'connect']))
    expect(required).toBe(imported)
  })

  test('does not load the addon or gRPC when it is imported', () => {
    const line =
      "import 'rdma-checkpoint'; import { createRequire } from 'node:module';" +
      'const loaded = [...Object.keys(createRequire(import.meta.url).cache), ...process.report.getReport().sharedObjects];' +
      'console.log(JSON.stringify(loaded.filter((name) => /\\.node$|grpc/.test(name))))'
    expect(JSON.parse(node(['--input-type=module', '-e', line]))).toEqual([])
  })

  test('prints help from its command', () => {
    expect(node([path.join(installed, 'dist/cli/main.js'), '--help'])).toContain('rdma-checkpoint')
  })

  test('keeps a checkpoint in a unit with nothing but its prebuild', () => {
    const program = `
      import { PersistentMemoryUnit, connect } from 'rdma-checkpoint'
      const unit = await PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes: 8 << 20 }, listen: '127.0.0.1:0' })
      const client = await connect(unit.address)
      const region = await client.createRegion('state', { bytes: 65536, mode: 'raw' })
      await region.write(7, Buffer.from('kept'))
      console.log(Buffer.from(await region.read(7, 4)).toString())
      await region.close()
      await client.close()
      await unit.close()
    `
    expect(node(['--input-type=module', '-e', program]).trim()).toBe('kept')
  })

  test('works where libibverbs is not, and says what verbs would need', ({ skip }) => {
    const hidden = withoutLibibverbs()
    if (hidden === undefined) skip('libibverbs is installed, and only root can hide it (unshare --mount)')
    const program = `
      import { PersistentMemoryUnit, connect } from 'rdma-checkpoint'
      const pool = { medium: 'memory', bytes: 8 << 20 }
      const unit = await PersistentMemoryUnit.start({ pool, listen: '127.0.0.1:0' })
      const client = await connect(unit.address)
      const region = await client.createRegion('state', { bytes: 65536, mode: 'raw' })
      await region.write(7, Buffer.from('kept'))
      const kept = Buffer.from(await region.read(7, 4)).toString()
      const refused = []
      for (const verbs of [() => connect(unit.address, { transport: 'verbs' }), () => PersistentMemoryUnit.start({ pool, transport: 'verbs' })])
        await verbs().then(() => refused.push({ code: 'none' }), ({ code, message, help }) => refused.push({ code, text: message + ' ' + help }))
      await client.close()
      await unit.close()
      console.log(JSON.stringify({ kept, refused }))
    `
    const [command = '', ...args] = [...(hidden ?? []), process.execPath, '--input-type=module', '-e', program]
    const output = execFileSync(command, args, { cwd: project, env: bare, encoding: 'utf8' })
    const { kept, refused } = JSON.parse(output)
    expect(kept).toBe('kept')
    expect(refused).toHaveLength(2)
    for (const { code, text } of refused) {
      expect(code).toBe('NOT_SUPPORTED')
      expect(text).toMatch(/apt-get install .*libibverbs/)
    }
  })

  test('loads in four worker threads at once', () => {
    const program = `
      import { Worker } from 'node:worker_threads'
      const code = "import { parentPort } from 'node:worker_threads'; import { loadNative } from '" + process.env.LOADER +
        "'; loadNative(); parentPort.postMessage('ok')"
      const workers = [1, 2, 3, 4].map(() => new Promise((resolve, reject) => {
        const worker = new Worker(code, { eval: true, execArgv: ['--input-type=module'] })
        worker.on('message', resolve).on('error', reject)
      }))
      console.log((await Promise.all(workers)).join())
    `
    const env = { LOADER: path.join(installed, 'dist/native-loader.js') }
    expect(node(['--input-type=module', '-e', program], { env }).trim()).toBe('ok,ok,ok,ok')
  })
})

/** A command in front of which a program finds no libibverbs; empty where there is none, undefined where it cannot be hidden. */
function withoutLibibverbs(): string[] | undefined {
  const known = execFileSync('/sbin/ldconfig', ['-p'], { encoding: 'utf8' })
  const files = [...known.matchAll(/lib(?:ibverbs|rdmacm)\.so\S* .*=> (\S+)/g)].map(([, file]) => file ?? '')
  if (files.length === 0) return []
  const hide = files.map((file) => `/bin/mount --bind /dev/null '${file}'`).join(' && ')
  const command = ['/usr/bin/unshare', '--mount', '/bin/sh', '-c', `${hide} && exec "$@"`, 'sh']
  try {
    execFileSync(command[0] as string, [...command.slice(1), '/bin/true'], { stdio: 'ignore' })
    return command
  } catch {
    return undefined
  }
}

describe('the prebuild', () => {
  const objdump = (flag: string) =>
    execFileSync('objdump', [flag, path.join(prebuilds, 'rdma-checkpoint.glibc.node')], {
      encoding: 'utf8',
      maxBuffer: 64 << 20,
    })
  const versions = (library: string) =>
    [...objdump('-T').matchAll(new RegExp(`\\b${library}_([0-9.]+)`, 'g'))].map((match) => match[1] ?? '')

  // glibc 2.28 is that of RHEL 8 and Debian 10. libgcc_s is the unwinder that Node itself has loaded.
  test.each([
    ['GLIBC', '2.28'],
    ['GCC', '4.8'],
  ])('needs no symbol of %s later than %s', (library, floor) => {
    const needed = versions(library)
    expect(needed.length).toBeGreaterThan(0)
    expect(new Set(needed.filter((version) => isLater(version, floor)))).toEqual(new Set())
  })

  test('has the C++ library in it, and shows nothing of it', () => {
    expect([...versions('GLIBCXX'), ...versions('CXXABI')]).toEqual([])
    const needed = [...objdump('-p').matchAll(/NEEDED\s+(\S+)/g)].map((match) => match[1] ?? '')
    for (const library of needed) expect(library).toMatch(/^(libc|libm|libgcc_s|libpthread|libdl|ld-linux[\w-]*)\.so/)
    const shown = objdump('-T')
      .split('\n')
      .filter((line) => / g +D[FO] (?!\*UND\*)/.test(line))
      .map((line) => line.split(/\s+/).at(-1))
    expect(
      shown.filter(
        (name) =>
          !/^(napi_register_module_v1|node_api_module_get_api_version_v1|__bss_start|_edata|_end)$/.test(name ?? ''),
      ),
    ).toEqual([])
  })

  test('has none of the faults of the test builds', () => {
    const name = 'RC_TEST_'
    expect(readFileSync(shadow).includes(name), 'they are found where they are').toBe(true)
    expect(readFileSync(path.join(prebuilds, 'rdma-checkpoint.glibc.node')).includes(name)).toBe(false)
  })

  test('carries no debug information and no path of the machine it was built on', () => {
    const binary = readFileSync(path.join(prebuilds, 'rdma-checkpoint.glibc.node'))
    expect(binary.includes('.debug_info')).toBe(false)
    expect(binary.includes(root)).toBe(false)
  })
})

function isLater(version: string, floor: string): boolean {
  const [a, b] = [version, floor].map((text) => text.split('.').map(Number)) as [number[], number[]]
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0)
    if (difference !== 0) return difference > 0
  }
  return false
}
