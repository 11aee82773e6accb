package io.winnow.examples.bench.speed;

import ai.djl.Model;
import com.google.common.base.Stopwatch;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.examples.bench.measure.BenchmarkResult;
import io.winnow.examples.bench.measure.Timing;
import io.winnow.examples.options.ModelOptions;
import java.io.File;
import java.io.IOException;
import java.io.OutputStream;
import java.lang.ProcessBuilder.Redirect;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.CancellationException;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * The time from the start of a process to the first token of a checkpoint, of {@code winnow
 * generate} and of Transformers in turn; beside it the time of loading alone, in a process that
 * runs already, and that of reading the bytes alone. The files are in the page cache.
 */
final class LoadBenchmark {
  private static final String PROMPT = "def ";

  private final Checkpoint checkpoint;
  private final Supplier<Model> loader;
  private final List<String> ours;
  private final @Nullable List<String> baseline;
  private final int threads;
  private final int repeat;

  /**
   * Creates a benchmark.
   *
   * @param loader loads the model, which is then closed
   * @param ours the command that generates one token
   * @param baseline the same of Transformers, or null
   * @param threads of both processes
   */
  LoadBenchmark(
      Path folder,
      Supplier<Model> loader,
      List<String> ours,
      @Nullable List<String> baseline,
      int threads,
      int repeat) {
    checkpoint = Checkpoint.open(folder);
    var unused = checkpoint.tokenizer();
    this.loader = loader;
    this.ours = ours;
    this.baseline = baseline;
    this.threads = threads;
    this.repeat = repeat;
  }

  /**
   * Returns the command that generates a token by winnow, started as this process was.
   *
   * @param home the folder with the launcher, if there is one
   * @param main the class of the command line
   */
  static List<String> winnow(Path home, String main, ModelOptions model) {
    List<String> command = new ArrayList<>();
    Path launcher = home.resolve("bin").resolve("winnow");
    if (System.getProperty("winnow.home") != null && Files.isExecutable(launcher)) {
      command.add(launcher.toString());
    } else {
      command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
      command.addAll(List.of("-cp", System.getProperty("java.class.path")));
      command.add(main);
    }
    command.addAll(
        List.of(
            "generate",
            "--model",
            model.folder().toString(),
            "--dtype",
            model.typeName(),
            "--device",
            model.deviceName(),
            "--max-tokens",
            "1",
            "--prompt",
            PROMPT));
    return command;
  }

  /** Returns the command that generates a token by Transformers. */
  static List<String> transformers(Path python, Path home, ModelOptions model, int threads) {
    return List.of(
        python.toString(),
        home.resolve("bench").resolve("transformers_first_token.py").toString(),
        model.folder().toString(),
        model.typeName(),
        model.deviceName(),
        Integer.toString(threads),
        PROMPT);
  }

  Result run() throws IOException {
    Checkpoint.readAhead(checkpoint.tensors().values()); // Into the page cache.
    List<Double> first = new ArrayList<>();
    List<Double> theirs = new ArrayList<>();
    List<Double> loading = new ArrayList<>();
    List<Double> reading = new ArrayList<>();
    for (int i = 0; i <= repeat; i++) {
      double seconds = firstOutput(ours);
      double other = baseline == null ? 0 : firstOutput(baseline);
      Stopwatch time = Stopwatch.createStarted();
      loader.get().close();
      double load = Timing.seconds(time);
      time.reset().start();
      Checkpoint.readAhead(checkpoint.tensors().values());
      double read = Timing.seconds(time);
      if (i == 0) {
        continue; // Programs and libraries are not in the page cache before.
      }
      first.add(seconds);
      loading.add(load);
      reading.add(read);
      if (baseline != null) {
        theirs.add(other);
      }
      System.err.printf(Locale.ROOT, "round %d of %d%n", i, repeat);
    }
    return new Result(checkpoint.bytes(), first, theirs, loading, reading);
  }

  /** Returns the seconds until a process writes something. */
  private double firstOutput(List<String> command) throws IOException {
    File complaints = File.createTempFile("winnow-load", ".log");
    try {
      Stopwatch time = Stopwatch.createStarted();
      ProcessBuilder builder = new ProcessBuilder(command).redirectError(Redirect.to(complaints));
      builder.environment().put("OMP_NUM_THREADS", Integer.toString(threads));
      Process process = builder.start();
      try {
        int read = process.getInputStream().read();
        double seconds = Timing.seconds(time);
        process.getInputStream().transferTo(OutputStream.nullOutputStream());
        int code = process.waitFor();
        if (read < 0 || code != 0) {
          List<String> lines = Files.readAllLines(complaints.toPath());
          throw new InvalidInputException(
              String.format(
                  "%s ended with code %d and without a token: %s; run it by hand to see why",
                  command.get(0), code, lines.isEmpty() ? "" : lines.get(lines.size() - 1)));
        }
        return seconds;
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new CancellationException("interrupted");
      } finally {
        process.destroy();
      }
    } finally {
      Files.deleteIfExists(complaints.toPath());
    }
  }

  /**
   * Seconds, round by round.
   *
   * @param bytes of the checkpoint's tensors
   * @param ours from the start of winnow to the first token
   * @param theirs from the start of Python to the first token; empty without it
   * @param loading of the model alone
   * @param reading of the bytes alone
   */
  record Result(
      long bytes,
      List<Double> ours,
      List<Double> theirs,
      List<Double> loading,
      List<Double> reading)
      implements BenchmarkResult {

    List<Double> speedUps() {
      List<Double> speedUps = new ArrayList<>();
      for (int i = 0; i < theirs.size(); i++) {
        speedUps.add(theirs.get(i) / ours.get(i));
      }
      return speedUps;
    }

    private double perGigabyte() {
      return Timing.median(loading) / (bytes / 1e9);
    }

    @Override
    public String table() {
      StringBuilder table =
          new StringBuilder(
              String.format(Locale.ROOT, "load: %d MB of weights%n", bytes / 1_000_000));
      row(table, "winnow, first token", ours);
      if (!theirs.isEmpty()) {
        row(table, "Transformers, first token", theirs);
      }
      row(table, "loading alone", loading);
      row(table, "reading the bytes alone", reading);
      table.append(
          String.format(Locale.ROOT, "loading takes %.0f ms a GB%n", 1000 * perGigabyte()));
      if (!theirs.isEmpty()) {
        table.append(
            String.format(
                Locale.ROOT,
                "Transformers' time of each round by winnow's: %s%n",
                Timing.spread(speedUps())));
      }
      return table.toString();
    }

    private static void row(StringBuilder table, String name, List<Double> seconds) {
      table.append(String.format(Locale.ROOT, "%-28s  %8.3f s%n", name, Timing.median(seconds)));
    }

    @Override
    public JsonObject toJson() {
      JsonObject json = new JsonObject();
      json.addProperty("bytes", bytes);
      json.add("seconds", Timing.array(ours));
      json.add("baseline_seconds", Timing.array(theirs));
      json.addProperty("ratio", theirs.isEmpty() ? null : Timing.median(speedUps()));
      json.add("loading_seconds", Timing.array(loading));
      json.add("reading_seconds", Timing.array(reading));
      json.addProperty("loading_seconds_per_gigabyte", perGigabyte());
      return json;
    }
  }
}
