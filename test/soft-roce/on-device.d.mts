export function onDevice(unit: { start(options: never): Promise<unknown> }): void
