package io.winnow.pruning;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/** Processes of this Java and class path, for tests that kill them. */
public final class JavaProcess {
  private JavaProcess() {}

  /**
   * Starts a class's main method.
   *
   * @param withOutput whether the caller reads what it prints; else that goes where ours does
   */
  public static Process start(Class<?> main, boolean withOutput, Object... arguments)
      throws IOException {
    List<String> command =
        new ArrayList<>(
            List.of(
                ProcessHandle.current().info().command().orElseThrow(),
                "-Xshare:auto",
                "-XX:TieredStopAtLevel=1",
                "-cp",
                System.getProperty("java.class.path"),
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
                main.getName()));
    for (Object argument : arguments) {
      command.add(argument.toString());
    }
    ProcessBuilder builder =
        new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT);
    return (withOutput ? builder : builder.inheritIO()).start();
  }
}
