package io.winnow.examples;

import io.winnow.core.InvalidInputException;
import io.winnow.core.Telemetry;
import io.winnow.core.WinnowVersion;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.util.concurrent.Callable;
import java.util.concurrent.CancellationException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import picocli.CommandLine;
import picocli.CommandLine.Command;

/** The command line {@code winnow}. */
@Command(
    name = "winnow",
    mixinStandardHelpOptions = true,
    versionProvider = Winnow.Version.class,
    description =
        "Makes Mixture-of-Experts language models smaller: removes experts after training.",
    footer = {
      "",
      "Examples:",
      "  winnow demo",
      "  winnow prune --model Mixtral-8x7B --calib c4.txt --retain 6 --out Mixtral-8x7B-r6",
      "  winnow evaluate --model Mixtral-8x7B-r6 --text valid.txt --length 2048",
      "",
      "Results go to standard output, progress to standard error. Exit code: 0 done, 2 bad input,",
      "130 interrupted, 1 a defect of winnow."
    },
    subcommands = {
      DemoCommand.class,
      PruneCommand.class,
      ApplyCommand.class,
      EvaluateCommand.class,
      ForwardCommand.class,
      GenerateCommand.class,
      BenchCommand.class
    })
public final class Winnow implements Callable<Integer> {
  static final int BAD_INPUT = 2;
  static final int INTERRUPTED = 130;

  private static final long CLEAN_UP_SECONDS = 30;

  /** Reads the version from the library. */
  static final class Version implements CommandLine.IVersionProvider {
    @Override
    public String[] getVersion() {
      return new String[] {"winnow " + WinnowVersion.get()};
    }
  }

  @CommandLine.Spec private CommandLine.Model.CommandSpec spec;

  @Override
  public Integer call() {
    throw new CommandLine.ParameterException(
        spec.commandLine(), "Say what to do: " + String.join(", ", spec.subcommands().keySet()));
  }

  /** Runs a command and exits with its code. */
  public static void main(String[] args) {
    Telemetry.off();
    AtomicBoolean finished = new AtomicBoolean();
    Thread main = Thread.currentThread();
    // On Ctrl-C the work is told to stop, and has time to remove what it has half written.
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  if (!finished.get()) {
                    main.interrupt();
                    try {
                      TimeUnit.SECONDS.timedJoin(main, CLEAN_UP_SECONDS);
                    } catch (InterruptedException e) {
                      Thread.currentThread().interrupt();
                    }
                  }
                }));
    int code = run(args);
    if (code != INTERRUPTED) {
      finished.set(true);
      System.exit(code);
    }
  }

  /** Runs a command and returns its exit code. */
  static int run(String... args) {
    CommandLine commands = new CommandLine(new Winnow());
    commands.setCaseInsensitiveEnumValuesAllowed(true);
    commands.setParameterExceptionHandler(
        (exception, arguments) -> {
          CommandLine command = exception.getCommandLine();
          return fail(
              command,
              exception.getMessage()
                  + " (see '"
                  + command.getCommandSpec().qualifiedName()
                  + " --help')",
              BAD_INPUT);
        });
    commands.setExecutionExceptionHandler(
        (exception, command, result) -> {
          if (exception instanceof CancellationException) {
            return fail(command, "interrupted", INTERRUPTED);
          }
          if (exception instanceof InvalidInputException
              || exception instanceof IOException
              || exception instanceof UncheckedIOException) {
            return fail(command, message(exception), BAD_INPUT);
          }
          command.getErr().println("A defect of winnow; please report it with this trace:");
          exception.printStackTrace(command.getErr());
          return 1;
        });
    return commands.execute(args);
  }

  private static String message(Exception exception) {
    Throwable cause = exception.getCause();
    if (exception instanceof UncheckedIOException && cause != null) {
      return exception.getMessage() + ": " + cause.getMessage();
    }
    return exception instanceof IOException
        ? exception.getClass().getSimpleName() + ": " + exception.getMessage()
        : String.valueOf(exception.getMessage());
  }

  private static int fail(CommandLine command, String message, int code) {
    PrintWriter err = command.getErr();
    err.println("winnow: " + message.replaceAll("\\s*\\R\\s*", " "));
    err.flush();
    return code;
  }
}
