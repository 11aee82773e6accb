package io.winnow.examples.cli;

import com.google.common.util.concurrent.Uninterruptibles;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.environment.Telemetry;
import io.winnow.core.internal.environment.WinnowVersion;
import io.winnow.examples.bench.BenchCommands;
import io.winnow.examples.cli.measure.MeasureCommands;
import io.winnow.examples.cli.prune.PruneCommands;
import io.winnow.examples.cli.run.RunCommands;
import io.winnow.examples.cli.train.TrainCommands;
import io.winnow.examples.console.ConsoleProgress;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.file.FileSystemException;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import picocli.CommandLine;
import picocli.CommandLine.Command;

/** The command line {@code winnow}. */
@Command(
    name = "winnow",
    mixinStandardHelpOptions = true,
    description =
        "Makes Mixture-of-Experts language models smaller and faster: removes experts after training,"
            + " and skips others while generating.",
    footer = {
      "",
      "Examples:",
      "  winnow demo",
      "  winnow prune --model Mixtral-8x7B --calib c4.txt --retain 6 --out Mixtral-8x7B-r6",
      "  winnow evaluate --model Mixtral-8x7B-r6 --text valid.txt --length 2048",
      "",
      "Results go to standard output, progress to standard error. Exit code: 0 done, 2 bad input,",
      "130 interrupted, 1 a defect of winnow."
    })
public final class Winnow implements Callable<Integer> {
  /** The exit code of a defect. */
  public static final int DEFECT = 1;

  /** The exit code of input that cannot be used. */
  public static final int BAD_INPUT = 2;

  /** The exit code of what was interrupted. */
  public static final int INTERRUPTED = 130;

  private static final long CLEAN_UP_SECONDS = 30;

  private static final List<Class<?>> COMMANDS =
      Stream.of(
              List.of(DemoCommand.class, InspectCommand.class),
              PruneCommands.CLASSES,
              TrainCommands.CLASSES,
              MeasureCommands.CLASSES,
              RunCommands.CLASSES,
              List.of(ReportCommand.class),
              BenchCommands.CLASSES)
          .<Class<?>>flatMap(List::stream)
          .toList();

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
    CountDownLatch finished = new CountDownLatch(1);
    Thread main = Thread.currentThread();
    // On Ctrl-C the work is told to stop, and has time to remove what it has half written.
    Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(main, finished)));
    int code;
    try {
      code = run(args);
    } finally {
      finished.countDown();
    }
    System.exit(code); // After a signal this waits for the process's end, and the signal's code.
  }

  private static void stop(Thread main, CountDownLatch finished) {
    if (finished.getCount() > 0) {
      main.interrupt();
      var unused =
          Uninterruptibles.awaitUninterruptibly(finished, CLEAN_UP_SECONDS, TimeUnit.SECONDS);
    }
  }

  /** Runs a command and returns its exit code. */
  public static int run(String... args) {
    Telemetry.off();
    CommandLine commands = new CommandLine(new Winnow());
    addSubcommands(commands, args);
    commands.setExpandAtFiles(false);
    setVersion(commands);
    commands.setParameterExceptionHandler(
        (exception, arguments) -> {
          CommandLine command = exception.getCommandLine();
          String name = command.getCommandSpec().qualifiedName();
          return fail(command, message(exception) + " (see '" + name + " --help')", BAD_INPUT);
        });
    commands.setExecutionExceptionHandler(
        (exception, command, result) -> {
          // An interrupt also ends reading and writing, with exceptions of all kinds.
          if (exception instanceof CancellationException
              || Thread.currentThread().isInterrupted()) {
            return fail(command, "interrupted", INTERRUPTED);
          }
          if (exception instanceof InvalidInputException
              || exception instanceof IOException
              || exception instanceof UncheckedIOException) {
            return fail(command, message(exception), BAD_INPUT);
          }
          ConsoleProgress.clear();
          command.getErr().println("A defect of winnow; please report it with this trace:");
          exception.printStackTrace(command.getErr());
          return DEFECT;
        });
    return commands.execute(args);
  }

  /** Adds the one that is called, or all: reading the options of each takes time. */
  private static void addSubcommands(CommandLine commands, String[] args) {
    List<Class<?>> called =
        COMMANDS.stream()
            .filter(
                type -> args.length > 0 && type.getAnnotation(Command.class).name().equals(args[0]))
            .toList();
    for (Class<?> type : called.isEmpty() ? COMMANDS : called) {
      CommandLine command = new CommandLine(type);
      BenchCommands.addBenchmarks(command);
      commands.addSubcommand(command);
    }
  }

  private static void setVersion(CommandLine command) {
    command.getCommandSpec().versionProvider(new Version());
    command.getSubcommands().values().forEach(Winnow::setVersion);
  }

  private static String message(CommandLine.ParameterException exception) {
    CommandLine command = exception.getCommandLine();
    if (exception instanceof CommandLine.UnmatchedArgumentException unmatched
        && !command.getSubcommands().isEmpty()
        && !unmatched.getUnmatched().get(0).startsWith("-")) {
      return "There is no command '"
          + unmatched.getUnmatched().get(0)
          + "'; choose one of "
          + String.join(", ", command.getSubcommands().keySet());
    }
    return String.valueOf(exception.getMessage());
  }

  private static String message(Exception exception) {
    Throwable cause = exception.getCause();
    if (exception instanceof UncheckedIOException && cause instanceof IOException io) {
      return message(io);
    }
    String message = exception.getMessage();
    // The system's own messages are often a file's name alone.
    return message == null || exception instanceof FileSystemException
        ? exception.getClass().getSimpleName() + ": " + message
        : message;
  }

  private static int fail(CommandLine command, String message, int code) {
    ConsoleProgress.clear();
    PrintWriter err = command.getErr();
    err.println("winnow: " + message.replaceAll("\\s*\\R\\s*", " "));
    err.flush();
    return code;
  }
}
